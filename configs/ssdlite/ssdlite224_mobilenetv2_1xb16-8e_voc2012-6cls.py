# SSDLite-MobileNetV2 on six classes of Pascal VOC 2012, train and val: a short experiment for two
# CPU cores.
_base_ = 'ssdlite224_mobilenetv2_1xb16-90e_voc0712.py'

classes = ('dog', 'cat', 'person', 'horse', 'sheep', 'cow')
model = dict(bbox_head=dict(num_classes=6))

# With VOCDataset, VOCMetric would print the names of VOC's first six classes.
__voc2012 = dict(
    type='XMLDataset', data_root=_base_.data_root, metainfo=dict(classes=classes),
    data_prefix=dict(sub_data_root='VOC2012/'))
train_dataloader = dict(
    num_workers=2,
    dataset=dict(
        _delete_=True, ann_file='VOC2012/ImageSets/Main/train.txt', pipeline=_base_.train_pipeline,
        filter_cfg=dict(filter_empty_gt=True, min_size=32), **__voc2012))
val_dataloader = dict(
    num_workers=2,
    dataset=dict(
        _delete_=True, ann_file='VOC2012/ImageSets/Main/val.txt', pipeline=_base_.test_pipeline,
        test_mode=True, **__voc2012))
test_dataloader = val_dataloader
val_evaluator = dict(eval_mode='area')  # VOC 2012's metric
test_evaluator = val_evaluator

max_epochs = 8
train_cfg = dict(max_epochs=max_epochs, val_interval=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=200),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, T_max=max_epochs, by_epoch=True,
         convert_to_iter_based=True, eta_min=0),
]
