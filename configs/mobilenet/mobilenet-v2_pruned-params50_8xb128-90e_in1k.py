# Plainly pruned twin of mobilenet-v2_adasap-params50_8xb128-90e_in1k.py: the same cuts between plain steps.
_base_ = 'mobilenet-v2_8xb128-90e_in1k.py'

custom_hooks = [
    dict(
        type='PruningHook',
        importance=dict(type='TaylorImportance'),
        budget=dict(type='ParamsBudget', keep_ratio=0.5),
        # 10 epochs of step 1, then 30 cuts at an interval of 30 iterations [second-hand].
        adaptive_begin=0, prune_begin=10, prune_steps=30, prune_interval=30,
        round_to=8,
        exclude=['backbone.conv1'],  # never cut by SMCP and HALP [read]
        input_size=(224, 224),
        evaluate_pruning=True,
    ),
]
