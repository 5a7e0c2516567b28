# AdaSAP by latency on the paper's detector: HALP's knapsack in place of a number of parameters.
_base_ = 'ssd512_r50_adasap-params40_8xb16-800e_voc0712.py'

# Of one image on the device that trains; table='...' and any_device=True prune for another.
custom_hooks = [
    *_base_.custom_hooks[:-1],
    {**_base_.custom_hooks[-1],
     'budget': dict(type='LatencyBudget', keep_ratio=0.5),
     'importance': dict(type='TaylorImportance')},
]
