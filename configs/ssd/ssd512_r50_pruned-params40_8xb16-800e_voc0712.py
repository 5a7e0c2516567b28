# Plainly pruned twin of the AdaSAP recipe: the same prune steps between plain training steps.
_base_ = 'ssd512_r50_8xb16-800e_voc0712.py'

default_hooks = dict(
    pruning=dict(
        type='PruningHook',
        importance=dict(type='TaylorImportance'),
        budget=dict(type='ParamsBudget', keep_ratio=0.4),
        adaptive_begin=0, prune_begin=60,  # epochs
        # 30 prune steps over 18 epochs. The interval counts iterations of 128 images: scale it if
        # the batches are smaller.
        prune_steps=30, prune_interval=80,
        round_to=8,
        exclude=['backbone.conv1'],
        input_size=(512, 512),
        evaluate_pruning=True))
