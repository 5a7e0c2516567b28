# AdaSAP on SSDLite-MobileNetV2, Pascal VOC 2012, six classes.
_base_ = 'ssdlite224_mobilenetv2_pruned-params40_1xb16-6e_voc2012-6cls.py'

optim_wrapper = dict(type='AdaSAPOptimWrapper')
