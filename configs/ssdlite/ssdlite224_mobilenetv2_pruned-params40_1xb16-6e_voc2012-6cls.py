# Plainly pruned twin of the AdaSAP recipe: the same prune steps between plain training steps.
_base_ = 'ssdlite224_mobilenetv2_1xb16-8e_voc2012-6cls.py'

# Starts from the trained dense detector: six epochs are too few from ImageNet weights.
load_from = 'work_dirs/ssdlite224_mobilenetv2_1xb16-8e_voc2012-6cls/epoch_8.pth'

max_epochs = 6
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, T_max=max_epochs, by_epoch=True,
         convert_to_iter_based=True, eta_min=0),
]
default_hooks = dict(
    pruning=dict(
        type='PruningHook',
        importance=dict(type='TaylorImportance'),
        budget=dict(type='ParamsBudget', keep_ratio=0.4),
        # Iterations, all within the first of 6 epochs of 106; the others recover accuracy.
        by_epoch=False, adaptive_begin=0, prune_begin=30, prune_steps=10, prune_interval=5,
        round_to=8,  # MobileNetV2's own divisor
        exclude=['backbone.conv1.conv'],
        input_size=(224, 224),
        evaluate_pruning=True))
