"""The demo's elastic twin: the same short training in AdaSAP's elastic stage, for any size."""

_base_ = './shapes_plain.py'

optim_wrapper = dict(type='AdaSAPOptimWrapper')
default_hooks = dict(
    pruning=dict(
        type='PruningHook',
        importance=dict(type='TaylorImportance'),
        budget=dict(type='ParamsBudget', keep_ratio=0.2),
        by_epoch=False,
        prune_steps=0,
        elastic=dict(),
        input_size=_base_.input_size,
    ),
)
