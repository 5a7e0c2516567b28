# AdaSAP on SSD300-VGG16, Pascal VOC 07+12.
_base_ = 'ssd300_vgg16_pruned-params40_8xb8-24e_voc0712.py'

optim_wrapper = dict(type='AdaSAPOptimWrapper')
