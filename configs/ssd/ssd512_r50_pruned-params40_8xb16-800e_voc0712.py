# Plainly pruned twin of ssd512_r50_adasap-params40_8xb16-800e_voc0712.py: the same cuts between plain steps.
_base_ = 'ssd512_r50_8xb16-800e_voc0712.py'

custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='PruningHook',
        importance=dict(type='MagnitudeImportance'),  # L2, the paper's default [second-hand]
        budget=dict(type='ParamsBudget', keep_ratio=0.4),  # AdaSAP_P at 40 % of size [second-hand]
        adaptive_begin=0, prune_begin=60,  # epochs: SMCP's warm-up [read]
        # AdaSAP's 30 cuts [second-hand] at SMCP's pace of 80 batches of 128 [read], 18 epochs in
        # all; SMCP spreads them over 390. With batches of another size, scale the interval.
        prune_steps=30, prune_interval=80,
        round_to=8,  # HALP's channel groups are 32 and more [read]
        exclude=['backbone.conv1'],  # never cut by SMCP and HALP [read]
        input_size=(512, 512),
        evaluate_pruning=True,
    ),
]
