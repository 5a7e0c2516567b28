# Plainly pruned twin of the AdaSAP recipe: the same prune steps between plain training steps.
_base_ = 'mobilenet-v1_8xb128-90e_in1k.py'

default_hooks = dict(
    pruning=dict(
        type='PruningHook',
        importance=dict(type='TaylorImportance'),
        budget=dict(type='ParamsBudget', keep_ratio=0.5),
        adaptive_begin=0, prune_begin=10,  # epochs
        prune_steps=30, prune_interval=30,  # less than an epoch in all
        round_to=8,
        exclude=['backbone.timm_model.conv_stem'],
        input_size=(224, 224),
        evaluate_pruning=True))
