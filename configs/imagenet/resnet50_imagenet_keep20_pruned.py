# Plainly pruned twin of resnet50_imagenet_keep20_adasap.py.
_base_ = 'resnet50_imagenet_pruned.py'

# Of the paper's three sizes, beside 40 % [second-hand].
custom_hooks = [
    {**_base_.custom_hooks[-1], 'budget': dict(type='ParamsBudget', keep_ratio=0.2)},
]
