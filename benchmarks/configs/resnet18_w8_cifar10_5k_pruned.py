# Plainly pruned from the dense network of the study (load_from is set by benchmarks/cifar10.py).
_base_ = 'resnet18_w8_cifar10_5k_dense.py'

max_epochs = 16
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=0.02))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, T_max=max_epochs, by_epoch=True,
         convert_to_iter_based=True, eta_min=0),
]
default_hooks = dict(
    pruning=dict(
        type='PruningHook',
        importance=dict(type='TaylorImportance'),
        budget=dict(type='ParamsBudget', keep_ratio=0.5),
        # Iterations, 78 an epoch: two epochs before pruning, one of pruning, thirteen after it; the
        # paper has 10, 1 and 79 on ImageNet.
        by_epoch=False, adaptive_begin=0, prune_begin=156, prune_steps=10, prune_interval=8,
        round_to=2, input_size=(32, 32)))
