# AdaSAP on the paper's detector at a fifth of the parameters.
_base_ = 'ssd512_r50_adasap-params40_8xb16-800e_voc0712.py'

# Of the paper's two sizes, beside 40 % [second-hand].
custom_hooks = [
    *_base_.custom_hooks[:-1],
    {**_base_.custom_hooks[-1], 'budget': dict(type='ParamsBudget', keep_ratio=0.2)},
]
