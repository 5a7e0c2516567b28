# AdaSAP on SSD512 with ResNet-50, Pascal VOC 07+12: the default recipe, 40 % of the parameters.
_base_ = 'ssd512_r50_pruned-params40_8xb16-800e_voc0712.py'

optim_wrapper = dict(type='AdaSAPOptimWrapper')
