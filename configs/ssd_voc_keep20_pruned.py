# Plainly pruned twin of ssd_voc_keep20_adasap.py.
_base_ = 'ssd_voc_pruned.py'

# Of the paper's two sizes, beside 40 % [second-hand].
custom_hooks = [
    *_base_.custom_hooks[:-1],
    {**_base_.custom_hooks[-1], 'budget': dict(type='ParamsBudget', keep_ratio=0.2)},
]
