# AdaSAP on SSDLite-MobileNetV2, Pascal VOC 07+12.
_base_ = 'ssdlite224_mobilenetv2_pruned-params40_1xb16-90e_voc0712.py'

optim_wrapper = dict(type='AdaSAPOptimWrapper')
