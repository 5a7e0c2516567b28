# Plainly pruned twin of the AdaSAP recipe: the same prune steps between plain training steps.
_base_ = 'ssdlite224_mobilenetv2_1xb16-90e_voc0712.py'

default_hooks = dict(
    pruning=dict(
        type='PruningHook',
        importance=dict(type='TaylorImportance'),
        budget=dict(type='ParamsBudget', keep_ratio=0.4),
        adaptive_begin=0, prune_begin=10,  # epochs
        prune_steps=30, prune_interval=30,
        round_to=8,  # MobileNetV2's own divisor
        exclude=['backbone.conv1.conv'],
        input_size=(224, 224),
        evaluate_pruning=True))
