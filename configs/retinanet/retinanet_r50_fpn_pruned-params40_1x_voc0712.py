# Plainly pruned twin of retinanet_r50_fpn_adasap-params40_1x_voc0712.py: the same cuts between plain steps.
_base_ = 'retinanet_r50_fpn_1x_voc0712.py'

custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='PruningHook',
        importance=dict(type='MagnitudeImportance'),  # L2, the paper's default [second-hand]
        budget=dict(type='ParamsBudget', keep_ratio=0.4),  # AdaSAP_P at 40 % of size [second-hand]
        # Of mmdet's 4 epochs of three rounds the first; own choice, so that most of the training
        # at the full rate comes after the cut.
        adaptive_begin=0, prune_begin=1,
        prune_steps=30, prune_interval=30,  # [second-hand]
        round_to=8,
        exclude=['backbone.conv1'],  # never cut by SMCP and HALP [read]
        input_size=(600, 1000),  # mmdet's largest
        evaluate_pruning=True,
    ),
]
