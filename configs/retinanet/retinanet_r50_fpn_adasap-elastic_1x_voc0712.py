# One training of AdaSAP, any size: the elastic stage on RetinaNet R50-FPN, Pascal VOC 07+12.
_base_ = 'retinanet_r50_fpn_adasap-params40_1x_voc0712.py'

# Smaller networks need statistics of their own, over the images of all GPUs.
model = dict(backbone=dict(norm_eval=False))
sync_bn = 'torch'
default_hooks = dict(
    pruning=dict(
        prune_steps=0, recalibrate_batches=40,
        elastic=dict(evaluate_keep_ratios=(0.4, 0.2))))
