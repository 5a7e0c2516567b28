# AdaSAP on ConvNeXt-T, ImageNet.
_base_ = 'convnext-tiny_pruned-params50_32xb128_in1k.py'

optim_wrapper = dict(type='AdaSAPOptimWrapper')
