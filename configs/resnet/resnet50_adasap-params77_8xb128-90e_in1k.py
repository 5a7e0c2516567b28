# AdaSAP at 77 % of the parameters.
_base_ = 'resnet50_adasap-params40_8xb128-90e_in1k.py'

default_hooks = dict(pruning=dict(budget=dict(keep_ratio=0.77)))
