# Plainly pruned to 20 % of the parameters.
_base_ = 'ssd512_r50_pruned-params40_8xb16-800e_voc0712.py'

default_hooks = dict(pruning=dict(budget=dict(keep_ratio=0.2)))
