# Plainly pruned twin of ssdlite_mobilenetv2_voc2012_adasap.py: the same cuts between plain steps.
_base_ = 'ssdlite_mobilenetv2_voc2012_dense.py'

max_epochs = 16
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=200),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, T_max=max_epochs, by_epoch=True,
         convert_to_iter_based=True, eta_min=0),
]
custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='PruningHook',
        importance=dict(type='MagnitudeImportance'),  # L2, the paper's default [second-hand]
        budget=dict(type='ParamsBudget', keep=0.4),  # AdaSAP_P at 40 % of size [second-hand]
        # Plain first: sharpness-aware steps late in training find much the same minima
        # (Zhou et al., ICLR 2025), and the cut wants a network that has learnt something.
        adaptive_begin=7, prune_begin=9,  # epochs
        prune_steps=10, prune_interval=10,  # about one epoch, as in the paper [second-hand]
        round_to=8,  # MobileNetV2's own divisor
        exclude=['backbone.conv1.conv'],  # SMCP and HALP never cut the first convolution [read]
        input_size=(224, 224),
        evaluate_cut=True,
    ),
]
