# One training of AdaSAP, any size: the elastic stage on SSDLite-MobileNetV2, Pascal VOC 07+12.
_base_ = 'ssdlite224_mobilenetv2_adasap-params40_1xb16-90e_voc0712.py'

default_hooks = dict(
    pruning=dict(
        prune_steps=0, recalibrate_batches=40,
        elastic=dict(evaluate_keep_ratios=(0.4, 0.2))))
