# Plainly pruned to half of the dense network's latency of one image.
_base_ = 'ssd512_r50_pruned-params40_8xb16-800e_voc0712.py'

# Measured on the device that trains; table='...' and any_device=True prune for another one.
default_hooks = dict(
    pruning=dict(budget=dict(_delete_=True, type='LatencyBudget', keep_ratio=0.5)))
