# One training of AdaSAP, any size: elastic stage, SSDLite, Pascal VOC 2012, six classes.
_base_ = 'ssdlite224_mobilenetv2_adasap-params40_1xb16-6e_voc2012-6cls.py'

default_hooks = dict(
    pruning=dict(
        prune_steps=0, recalibrate_batches=40,
        elastic=dict(evaluate_keep_ratios=(0.4, 0.2))))
