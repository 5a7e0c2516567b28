# Plainly pruned twin of ssd300_vgg16_adasap-params40_8xb8-24e_voc0712.py: the same cuts between plain steps.
_base_ = 'ssd300_vgg16_8xb8-24e_voc0712.py'

custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='PruningHook',
        importance=dict(type='MagnitudeImportance'),  # L2, the paper's default [second-hand]
        budget=dict(type='ParamsBudget', keep_ratio=0.4),  # AdaSAP_P at 40 % of size [second-hand]
        # Of 24 epochs of ten rounds: SMCP warms up for 60 of 800 [read], a like share.
        adaptive_begin=0, prune_begin=2,
        prune_steps=30,  # [second-hand]
        prune_interval=160,  # 80 batches of 128 in SMCP [read], 8 GPUs x 8 = 64 here
        round_to=8,
        exclude=['backbone.features.0'],  # SMCP and HALP never cut the first convolution [read]
        input_size=(300, 300),
        evaluate_pruning=True,
    ),
]
