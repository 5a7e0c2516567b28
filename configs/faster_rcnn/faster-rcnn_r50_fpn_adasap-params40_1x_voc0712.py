# AdaSAP on Faster R-CNN R50-FPN, Pascal VOC 07+12.
_base_ = 'faster-rcnn_r50_fpn_pruned-params40_1x_voc0712.py'

optim_wrapper = dict(type='AdaSAPOptimWrapper')
