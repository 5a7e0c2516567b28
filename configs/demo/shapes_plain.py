"""The demo's plain twin: a short training of the dense detector with ordinary steps."""

_base_ = './shapes_dense.py'

load_from = 'demo_out/dense/iter_4000.pth'

max_iters = 400
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, by_epoch=False, begin=0, end=25),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=25, end=max_iters, eta_min=2e-5),
]
