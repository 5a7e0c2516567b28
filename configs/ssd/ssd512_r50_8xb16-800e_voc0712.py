# SSD512 with ResNet-50 on Pascal VOC 07+12: the paper's detector, trained as in SMCP.
_base_ = ['mmdet::pascal_voc/ssd512_voc0712.py', '../_base_/adasap_runtime.py']

model = dict(
    data_preprocessor=dict(std=[58.395, 57.12, 57.375]),  # ImageNet's; mmdet has 1 for VGG
    backbone=dict(
        # Up to layer3 with stride 1, whose map is 64x64x1024.
        _delete_=True, type='ResNet', depth=50, num_stages=3, strides=(1, 2, 1),
        dilations=(1, 1, 1), out_indices=(2,), style='pytorch', norm_cfg=dict(type='BN'),
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')),
    neck=dict(
        # Maps of 32, 16, 8, 4, 2 and 1 pixels.
        _delete_=True, type='SSDExtraLayers', in_channels=1024,
        mid_channels=(512, 256, 128, 128, 128, 128), mid_kernels=(3, 1, 1, 1, 1, 1),
        out_channels=(512, 512, 256, 256, 256, 256), out_kernels=(3, 3, 3, 3, 3, 4),
        strides=(2, 2, 2, 2, 2, 1), norm_cfg=dict(type='BN')),
    bbox_head=dict(  # 24,564 priors, those of mmdet's SSD512
        in_channels=(1024, 512, 512, 256, 256, 256, 256)),
    train_cfg=dict(smoothl1_beta=1e-4),  # makes the box loss plain L1
    test_cfg=dict(score_thr=0.01, nms=dict(iou_threshold=0.45), max_per_img=200))

train_dataloader = dict(
    batch_size=16, num_workers=4, persistent_workers=False,  # so that resumed runs are bit-equal
    batch_sampler=None, drop_last=True,
    dataset=dict(times=1))  # one pass over the data an epoch; mmdet's epochs have ten
val_dataloader = dict(batch_size=16, num_workers=4, persistent_workers=False)
test_dataloader = val_dataloader
sync_bn = 'torch'  # batch norm over all GPUs, as each has 16 images only; no effect on one device

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='SGD', lr=8e-3, momentum=0.9, weight_decay=2e-3),
    # No weight decay for batch norm, twice the learning rate for biases. bias_lr_mult covers the
    # output layers' and leaves out those of batch norm, which custom_keys names.
    paramwise_cfg=dict(
        bias_lr_mult=2.0, norm_decay_mult=0.0,
        custom_keys={
            name: dict(lr_mult=2.0, decay_mult=0.0)
            for name in ('bn.bias', 'bn1.bias', 'bn2.bias', 'bn3.bias', 'downsample.1.bias')}))
auto_scale_lr = dict(enable=True, base_batch_size=128)

train_cfg = dict(max_epochs=800, val_interval=20)
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 51, begin=0, end=51),  # full rate from epoch 50 on
    dict(type='MultiStepLR', milestones=[600], gamma=3 / 8),
    dict(type='MultiStepLR', milestones=[700], gamma=1 / 3),
    dict(type='MultiStepLR', milestones=[740], gamma=2 / 5),
    dict(type='MultiStepLR', milestones=[770], gamma=1 / 10),
]

default_hooks = dict(
    checkpoint=dict(interval=20, max_keep_ckpts=3, backend_args=dict(backend='atomic')),
    random_state=dict(type='RandomStateHook'),
    data_check=dict(type='DataCheckHook'))
