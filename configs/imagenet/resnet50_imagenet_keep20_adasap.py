# AdaSAP on ResNet-50, ImageNet, at another of the paper's sizes.
_base_ = 'resnet50_imagenet_adasap.py'

# Of the paper's three sizes, beside 40 % [second-hand].
custom_hooks = [
    {**_base_.custom_hooks[-1], 'budget': dict(type='ParamsBudget', keep_ratio=0.2)},
]
