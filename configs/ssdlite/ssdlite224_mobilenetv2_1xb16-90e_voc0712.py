# SSDLite-MobileNetV2 at 224x224 on Pascal VOC 07+12: small enough to train on a CPU.
_base_ = [
    'mmdet::_base_/default_runtime.py',
    '../_base_/adasap_runtime.py',
    '../_base_/models/ssdlite_mobilenetv2_224.py',
    '../_base_/datasets/voc0712_ssd224.py',
]

max_epochs = 90
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    # For 16 images, from ImageNet weights; mmdet's SSDLite has 0.015 for 192, from scratch.
    optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=4e-5))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=200),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, T_max=max_epochs, by_epoch=True,
         convert_to_iter_based=True, eta_min=0),
]
auto_scale_lr = dict(enable=False, base_batch_size=16)

default_hooks = dict(
    checkpoint=dict(interval=1, max_keep_ckpts=3, backend_args=dict(backend='atomic')),
    random_state=dict(type='RandomStateHook'),
    data_check=dict(type='DataCheckHook'))
custom_hooks = [  # those of mmdet's SSD
    dict(type='NumClassCheckHook'),
    dict(type='CheckInvalidLossHook', interval=50, priority='VERY_LOW'),
]
