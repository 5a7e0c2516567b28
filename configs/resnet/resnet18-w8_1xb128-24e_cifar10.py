# ResNet-18 of an eighth of the width (8 to 64 channels) on CIFAR-10: trains on a CPU in minutes.
_base_ = [
    'mmpretrain::_base_/models/resnet18_cifar.py',
    '../_base_/datasets/cifar10_folder.py',
    '../_base_/adasap_cls_runtime.py',
]
model = dict(backbone=dict(stem_channels=8, base_channels=8), head=dict(in_channels=64))

max_epochs = 24
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=4)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=150),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, T_max=max_epochs, by_epoch=True,
         convert_to_iter_based=True, eta_min=0),
]
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(interval=max_epochs, max_keep_ckpts=2),
    random_state=dict(type='RandomStateHook'))
auto_scale_lr = dict(base_batch_size=128)
