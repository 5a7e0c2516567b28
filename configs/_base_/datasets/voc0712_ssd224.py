# Pascal VOC 07+12 with SSD's augmentation, at 224x224. VOC_ROOT sets where the data is:
# VOC_ROOT=/data/VOCdevkit/
dataset_type = 'VOCDataset'
data_root = '{{$VOC_ROOT:data/VOCdevkit/}}'
input_size = 224  # MobileNetV2's on ImageNet

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    # mmdet's SSD zooms out up to 4x, which takes a longer schedule.
    dict(type='Expand', mean=[123.675, 116.28, 103.53], to_rgb=True, ratio_range=(1, 2)),
    dict(type='MinIoURandomCrop', min_ious=(0.1, 0.3, 0.5, 0.7, 0.9), min_crop_size=0.3),
    dict(type='Resize', scale=(input_size, input_size), keep_ratio=False),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion', brightness_delta=32, contrast_range=(0.5, 1.5),
         saturation_range=(0.5, 1.5), hue_delta=18),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(input_size, input_size), keep_ratio=False),
    dict(type='LoadAnnotations', with_bbox=True),  # after Resize, so that boxes are not resized
    dict(type='PackDetInputs',
         meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]

__year = dict(type=dataset_type, data_root=data_root, pipeline=train_pipeline,
             filter_cfg=dict(filter_empty_gt=True, min_size=32))
train_dataloader = dict(
    batch_size=16, num_workers=4, persistent_workers=False,  # so that resumed runs are bit-equal
    drop_last=True,  # a batch of one is a single value for batch norm on the 1x1 map
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='ConcatDataset', ignore_keys=['dataset_type'],
        datasets=[
            dict(ann_file='VOC2007/ImageSets/Main/trainval.txt',
                 data_prefix=dict(sub_data_root='VOC2007/'), **__year),
            dict(ann_file='VOC2012/ImageSets/Main/trainval.txt',
                 data_prefix=dict(sub_data_root='VOC2012/'), **__year),
        ]))
val_dataloader = dict(
    batch_size=16, num_workers=4, persistent_workers=False, drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type, data_root=data_root, test_mode=True, pipeline=test_pipeline,
        ann_file='VOC2007/ImageSets/Main/test.txt',
        data_prefix=dict(sub_data_root='VOC2007/')))
test_dataloader = val_dataloader

val_evaluator = dict(type='VOCMetric', metric='mAP', eval_mode='11points')  # VOC 2007's metric
test_evaluator = val_evaluator
