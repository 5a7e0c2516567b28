# AdaSAP on ResNet-50, ImageNet: the default recipe, 40 % of the parameters.
_base_ = 'resnet50_pruned-params40_8xb128-90e_in1k.py'

optim_wrapper = dict(type='AdaSAPOptimWrapper')
