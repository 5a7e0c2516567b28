# Plainly pruned twin of ssd512_r50_adasap-latency50_8xb16-800e_voc0712.py.
_base_ = 'ssd512_r50_pruned-params40_8xb16-800e_voc0712.py'

# Of one image on the device that trains; table='...' and any_device=True prune for another.
custom_hooks = [
    *_base_.custom_hooks[:-1],
    {**_base_.custom_hooks[-1],
     'budget': dict(type='LatencyBudget', keep_ratio=0.5),
     'importance': dict(type='TaylorImportance')},
]
