# One training of AdaSAP, any size: the elastic stage on SSD512 with ResNet-50, Pascal VOC 07+12.
_base_ = 'ssd512_r50_adasap-params40_8xb16-800e_voc0712.py'

model = dict(backbone=dict(norm_eval=False))  # smaller networks need statistics of their own
default_hooks = dict(
    pruning=dict(
        prune_steps=0, recalibrate_batches=40,
        elastic=dict(evaluate_keep_ratios=(0.4, 0.2))))
