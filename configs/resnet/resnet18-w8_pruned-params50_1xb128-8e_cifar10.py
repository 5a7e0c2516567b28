# Plainly pruned twin of the AdaSAP recipe: the same prune steps between plain training steps.
_base_ = 'resnet18-w8_1xb128-24e_cifar10.py'

load_from = 'work_dirs/resnet18-w8_1xb128-24e_cifar10/epoch_24.pth'

max_epochs = 8
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=0.02))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, T_max=max_epochs, by_epoch=True,
         convert_to_iter_based=True, eta_min=0),
]
default_hooks = dict(
    checkpoint=dict(interval=max_epochs),
    pruning=dict(
        type='PruningHook',
        importance=dict(type='TaylorImportance'),
        budget=dict(type='ParamsBudget', keep_ratio=0.5),
        # Iterations, 156 an epoch: prune steps in the second epoch; the others recover accuracy.
        by_epoch=False, adaptive_begin=0, prune_begin=156, prune_steps=10, prune_interval=15,
        round_to=2,
        input_size=(32, 32),
        evaluate_pruning=True))
