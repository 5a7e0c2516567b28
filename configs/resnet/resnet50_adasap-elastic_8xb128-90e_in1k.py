# One training of AdaSAP, any size: the elastic stage on ResNet-50, ImageNet.
_base_ = 'resnet50_adasap-params40_8xb128-90e_in1k.py'

default_hooks = dict(
    pruning=dict(
        prune_steps=0, recalibrate_batches=40,
        elastic=dict(evaluate_keep_ratios=(0.4, 0.2))))
