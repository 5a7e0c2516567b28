# Plainly pruned twin of the AdaSAP recipe: the same prune steps between plain training steps.
_base_ = 'ssd300_vgg16_8xb8-24e_voc0712.py'

default_hooks = dict(
    pruning=dict(
        type='PruningHook',
        importance=dict(type='TaylorImportance'),
        budget=dict(type='ParamsBudget', keep_ratio=0.4),
        adaptive_begin=0, prune_begin=2,  # of 24 epochs, each of ten passes over the data
        prune_steps=30, prune_interval=160,
        round_to=8,
        exclude=['backbone.features.0'],
        input_size=(300, 300),
        evaluate_pruning=True))
