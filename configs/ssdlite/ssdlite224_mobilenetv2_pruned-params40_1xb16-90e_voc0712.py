# Plainly pruned twin of ssdlite224_mobilenetv2_adasap-params40_1xb16-90e_voc0712.py: the same cuts between plain steps.
_base_ = 'ssdlite224_mobilenetv2_1xb16-90e_voc0712.py'

custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='PruningHook',
        # Not the paper's magnitude: after the same training it left this network half of the AP50
        # that Taylor did, 13.1 against 23.5 at 40 % of the parameters (own measurement, on 900
        # images).
        importance=dict(type='TaylorImportance'),
        budget=dict(type='ParamsBudget', keep_ratio=0.4),  # AdaSAP_P at 40 % of size [second-hand]
        adaptive_begin=0, prune_begin=10,  # epochs [second-hand]
        prune_steps=30, prune_interval=30,  # 30 cuts, one every 30 iterations [second-hand]
        round_to=8,  # MobileNetV2's own divisor
        exclude=['backbone.conv1.conv'],  # SMCP and HALP never cut the first convolution [read]
        input_size=(224, 224),
        evaluate_pruning=True,
    ),
]
