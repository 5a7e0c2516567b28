# Plainly pruned to half of the dense network's latency of 256 images.
_base_ = 'mobilenet-v2_pruned-params50_8xb128-90e_in1k.py'

# Measured on the device that trains; table='...' and any_device=True prune for another one.
default_hooks = dict(
    pruning=dict(budget=dict(
        _delete_=True, type='LatencyBudget', keep_ratio=0.5, batch_size=256)))
