# Plainly pruned twin of ssd_voc_latency_adasap.py.
_base_ = 'ssd_voc_pruned.py'

# Of one image on the device that trains; table='...' and any_device=True prune for another.
custom_hooks = [
    *_base_.custom_hooks[:-1],
    {**_base_.custom_hooks[-1],
     'budget': dict(type='LatencyBudget', keep_ratio=0.5),
     'importance': dict(type='TaylorImportance')},
]
