# Faster R-CNN R50-FPN on Pascal VOC 07+12, mmdet's recipe unchanged: 80.4 AP50 on VOC2007 test.
_base_ = ['mmdet::pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py', '../_base_/adasap_runtime.py']

train_dataloader = dict(persistent_workers=False)  # resumed runs stay bit-equal
val_dataloader = dict(persistent_workers=False)
test_dataloader = val_dataloader

default_hooks = dict(checkpoint=dict(max_keep_ckpts=3, backend_args=dict(backend='atomic')))
custom_hooks = [dict(type='RandomStateHook'), dict(type='DataCheckHook')]
