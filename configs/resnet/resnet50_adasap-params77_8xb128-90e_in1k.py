# AdaSAP on ResNet-50, ImageNet, at another of the paper's sizes.
_base_ = 'resnet50_adasap-params40_8xb128-90e_in1k.py'

# Of the paper's three sizes, beside 40 % [second-hand].
custom_hooks = [
    {**_base_.custom_hooks[-1], 'budget': dict(type='ParamsBudget', keep_ratio=0.77)},
]
