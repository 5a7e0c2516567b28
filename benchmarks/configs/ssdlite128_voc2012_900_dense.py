# SSDLite-MobileNetV2 at 128x128 on 900 images of Pascal VOC 2012, six classes, random flips only:
# so training converges on two CPU cores, before and after pruning. SSD's cropping, expansion and
# colour distortion would make that hundreds of epochs.
_base_ = 'ssdlite160_voc2012_dense.py'

input_size = 128
model = dict(bbox_head=dict(anchor_generator=dict(
    # 15, 35, 55, 75 and 95 % of the input, as at 224; maps of 8, 4, 2, 1 and 1 pixels.
    strides=[16, 32, 64, 128, 128], min_sizes=[19.2, 44.8, 70.4, 96.0, 121.6],
    max_sizes=[44.8, 70.4, 96.0, 121.6, 128.0])))

__resize = dict(type='Resize', scale=(input_size, input_size), keep_ratio=False)
train_pipeline = [
    __resize if step['type'] == 'Resize' else step for step in _base_.train_pipeline
    if step['type'] not in ('Expand', 'MinIoURandomCrop', 'PhotoMetricDistortion')]
test_pipeline = [
    __resize if step['type'] == 'Resize' else step for step in _base_.test_pipeline]
train_dataloader = dict(dataset=dict(
    ann_file='VOC2012/ImageSets/Main/small_train.txt', pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

max_epochs = 40
train_cfg = dict(max_epochs=max_epochs, val_interval=20)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=200),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, T_max=max_epochs, by_epoch=True,
         convert_to_iter_based=True, eta_min=0),
]
