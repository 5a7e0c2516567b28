"""Plainly pruned twin of shapes_adasap.py: the same pruning with ordinary training steps."""

_base_ = './shapes_dense.py'

# From the converged dense detector.
load_from = 'demo_out/dense/iter_1200.pth'

max_iters = 500
train_cfg = dict(max_iters=max_iters, val_interval=250)
optim_wrapper = dict(optimizer=dict(lr=0.02))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, by_epoch=False, begin=0, end=25),
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        begin=25,
        end=max_iters,
        eta_min=2e-4,
    ),
]

default_hooks = dict(
    pruning=dict(
        type='PruningHook',
        importance=dict(type='TaylorImportance'),
        budget=dict(type='ParamsBudget', keep_ratio=0.5),
        # Iterations: 100 of the adaptive stage, then eight prune steps in 70 more.
        by_epoch=False,
        adaptive_begin=0,
        prune_begin=100,
        prune_steps=8,
        prune_interval=10,
        round_to=8,  # MobileNetV2's own divisor
        input_size=_base_.input_size,
        evaluate_pruning=True,
    ),
)
