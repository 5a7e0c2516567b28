# Faster R-CNN R50-FPN on Pascal VOC 07+12: mmdet's recipe.
_base_ = ['mmdet::pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py', '../_base_/adasap_runtime.py']

train_dataloader = dict(persistent_workers=False)  # so that resumed runs are bit-equal
val_dataloader = dict(persistent_workers=False)
test_dataloader = val_dataloader

default_hooks = dict(
    checkpoint=dict(max_keep_ckpts=3, backend_args=dict(backend='atomic')),
    random_state=dict(type='RandomStateHook'),
    data_check=dict(type='DataCheckHook'))
