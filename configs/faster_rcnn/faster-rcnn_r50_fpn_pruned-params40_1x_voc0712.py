# Plainly pruned twin of the AdaSAP recipe: the same prune steps between plain training steps.
_base_ = 'faster-rcnn_r50_fpn_1x_voc0712.py'

default_hooks = dict(
    pruning=dict(
        type='PruningHook',
        importance=dict(type='TaylorImportance'),
        budget=dict(type='ParamsBudget', keep_ratio=0.4),
        # After the first of 4 epochs (each of three passes over the data), so that most of the
        # training at the full learning rate follows the last prune step.
        adaptive_begin=0, prune_begin=1,
        prune_steps=30, prune_interval=30,
        round_to=8,
        exclude=['backbone.conv1'],
        input_size=(600, 1000),  # the largest that mmdet's pipeline resizes to
        evaluate_pruning=True))
