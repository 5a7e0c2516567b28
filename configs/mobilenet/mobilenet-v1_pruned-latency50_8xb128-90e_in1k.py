# Plainly pruned twin of mobilenet-v1_adasap-latency50_8xb128-90e_in1k.py.
_base_ = 'mobilenet-v1_pruned-params50_8xb128-90e_in1k.py'

# Of batches of 256 on the device that trains [recalled]; table='...' and any_device=True prune for
# another. Taylor as in HALP [read].
custom_hooks = [
    {**_base_.custom_hooks[-1],
     'budget': dict(type='LatencyBudget', keep_ratio=0.5, batch_size=256),
     'importance': dict(type='TaylorImportance')},
]
