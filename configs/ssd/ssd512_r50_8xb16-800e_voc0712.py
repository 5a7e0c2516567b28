# The paper's detector, SSD512 with ResNet-50 on Pascal VOC 07+12, trained as in SMCP, the sister
# paper of HALP, whose detection setting AdaSAP follows. HALP: 78.0 mAP, 65.56 GMACs dense.
# [read] is SMCP's public repository. It differs in the box loss, which it averages over the four
# coordinates, in learning difficult objects too, and in not naming any pretrained weights.
_base_ = ['mmdet::pascal_voc/ssd512_voc0712.py', '../_base_/adasap_runtime.py']

model = dict(
    data_preprocessor=dict(std=[58.395, 57.12, 57.375]),  # ImageNet's [read]; for VGG it is 1
    backbone=dict(
        # Up to layer3, whose stride is 1: 64x64x1024 [read].
        _delete_=True, type='ResNet', depth=50, num_stages=3, strides=(1, 2, 1),
        dilations=(1, 1, 1), out_indices=(2,), style='pytorch', norm_cfg=dict(type='BN'),
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')),
    neck=dict(
        # Maps 32, 16, 8, 4, 2, 1 [read].
        _delete_=True, type='SSDExtraLayers', in_channels=1024,
        mid_channels=(512, 256, 128, 128, 128, 128), mid_kernels=(3, 1, 1, 1, 1, 1),
        out_channels=(512, 512, 256, 256, 256, 256), out_kernels=(3, 3, 3, 3, 3, 4),
        strides=(2, 2, 2, 2, 2, 1), norm_cfg=dict(type='BN')),
    bbox_head=dict(  # 24,564 priors: mmdet's for SSD512, whose scales are SMCP's
        in_channels=(1024, 512, 512, 256, 256, 256, 256)),
    train_cfg=dict(smoothl1_beta=1e-4),  # plain L1 [read]
    test_cfg=dict(score_thr=0.01, nms=dict(iou_threshold=0.45), max_per_img=200))  # [read]

train_dataloader = dict(
    batch_size=16, num_workers=4, persistent_workers=False,  # on 8 GPUs 128; 16 each [read]
    batch_sampler=None, drop_last=True,  # [read]
    dataset=dict(times=1))  # mmdet counts ten rounds as one epoch; here an epoch is an epoch
val_dataloader = dict(batch_size=16, num_workers=4, persistent_workers=False)
test_dataloader = val_dataloader
sync_bn = 'torch'  # for 32 images per GPU or fewer [read]; without effect on one device

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='SGD', lr=8e-3, momentum=0.9, weight_decay=2e-3),  # [read]
    # No decay of batch norm, biases at twice the rate [read]: first those of output layers, then
    # those of batch norm, which bias_lr_mult leaves out.
    paramwise_cfg=dict(
        bias_lr_mult=2.0, norm_decay_mult=0.0,
        custom_keys={
            name: dict(lr_mult=2.0, decay_mult=0.0)
            for name in ('bn.bias', 'bn1.bias', 'bn2.bias', 'bn3.bias', 'downsample.1.bias')}))
auto_scale_lr = dict(enable=True, base_batch_size=128)  # linear [read]

train_cfg = dict(max_epochs=800, val_interval=20)  # [read]
param_scheduler = [  # [read]
    dict(type='LinearLR', start_factor=1 / 51, begin=0, end=51),  # reaches 1 in epoch 50
    dict(type='MultiStepLR', milestones=[600], gamma=3 / 8),
    dict(type='MultiStepLR', milestones=[700], gamma=1 / 3),
    dict(type='MultiStepLR', milestones=[740], gamma=2 / 5),
    dict(type='MultiStepLR', milestones=[770], gamma=1 / 10),
]

default_hooks = dict(
    checkpoint=dict(interval=20, max_keep_ckpts=3, backend_args=dict(backend='atomic')))
custom_hooks = [*_base_.custom_hooks, dict(type='RandomStateHook'), dict(type='DataCheckHook')]
