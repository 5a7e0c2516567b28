# AdaSAP on the paper's detector at a fifth of the parameters.
_base_ = 'ssd_voc_adasap.py'

# Of the paper's two sizes, beside 40 % [second-hand].
custom_hooks = [
    *_base_.custom_hooks[:-1],
    {**_base_.custom_hooks[-1], 'budget': dict(type='ParamsBudget', keep_ratio=0.2)},
]
