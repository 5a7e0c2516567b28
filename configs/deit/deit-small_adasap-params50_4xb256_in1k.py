# AdaSAP on DeiT-S, ImageNet.
_base_ = 'deit-small_pruned-params50_4xb256_in1k.py'

optim_wrapper = dict(type='AdaSAPOptimWrapper')
