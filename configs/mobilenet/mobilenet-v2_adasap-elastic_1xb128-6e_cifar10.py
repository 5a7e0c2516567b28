# One training of AdaSAP, any size: the elastic stage on MobileNetV2, CIFAR-10.
_base_ = 'mobilenet-v2_adasap-params50_1xb128-6e_cifar10.py'

default_hooks = dict(
    pruning=dict(
        prune_steps=0, recalibrate_batches=40,
        elastic=dict(evaluate_keep_ratios=(0.4, 0.2))))
