# MobileNetV2 from ImageNet weights on CIFAR-10 at 32x32: small enough to train on a CPU.
_base_ = [
    'mmpretrain::_base_/models/mobilenet_v2_1x.py',
    '../_base_/datasets/cifar10_folder.py',
    '../_base_/adasap_cls_runtime.py',
]
# MOBILENETV2_WEIGHTS names a local file instead, for machines without internet access.
weights = '{{$MOBILENETV2_WEIGHTS:https://download.openmmlab.com/mmclassification/v0/mobilenet_v2/mobilenet_v2_batch256_imagenet_20200708-3b2dc3af.pth}}'
model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=weights, prefix='backbone')),
    head=dict(num_classes=10, topk=(1,)))

max_epochs = 8
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    type='OptimWrapper',
    # At lr=0.05 training loses the ImageNet weights: 45 % top-1 instead of 70 and more.
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=150),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, T_max=max_epochs, by_epoch=True,
         convert_to_iter_based=True, eta_min=0),
]
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(interval=max_epochs, max_keep_ckpts=2),
    random_state=dict(type='RandomStateHook'),
    channels_last=dict(type='ChannelsLastHook'))  # speeds up depthwise convolutions
auto_scale_lr = dict(base_batch_size=128)
