# Plainly pruned twin of ssdlite_mobilenetv2_voc2012_adasap.py: the same cuts between plain steps.
_base_ = 'ssdlite_mobilenetv2_voc2012_dense.py'

# From the converged dense detector: from ImageNet weights, so short a run does not get there.
load_from = 'work_dirs/ssdlite_mobilenetv2_voc2012_dense/epoch_8.pth'

custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='PruningHook',
        importance=dict(type='MagnitudeImportance'),  # L2, the paper's default [second-hand]
        budget=dict(type='ParamsBudget', keep=0.4),  # AdaSAP_P at 40 % of size [second-hand]
        adaptive_begin=0, prune_begin=2,  # epochs of 8; the paper's 10 of 90 would be 1
        prune_steps=10, prune_interval=10,  # an epoch (106 iterations) in all, as the paper's
        round_to=8,  # MobileNetV2's own divisor
        exclude=['backbone.conv1.conv'],  # SMCP and HALP never cut the first convolution [read]
        input_size=(224, 224),
        evaluate_cut=True,
    ),
]
