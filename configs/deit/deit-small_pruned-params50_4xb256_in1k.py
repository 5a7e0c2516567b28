# Plainly pruned twin of deit-small_adasap-params50_4xb256_in1k.py: the same cuts between plain steps.
_base_ = 'deit-small_4xb256_in1k.py'

custom_hooks = [
    dict(
        type='PruningHook',
        importance=dict(type='TaylorImportance'),
        budget=dict(type='ParamsBudget', keep_ratio=0.5),
        # The paper's pace [second-hand]; it has no transformers. Heads stay whole, features go.
        adaptive_begin=0, prune_begin=10, prune_steps=30, prune_interval=30,
        round_to=8,
        exclude=['backbone.patch_embed'],  # never cut by SMCP and HALP [read]
        input_size=(224, 224),
        evaluate_pruning=True,
    ),
]
