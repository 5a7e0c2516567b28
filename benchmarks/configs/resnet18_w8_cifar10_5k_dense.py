# The narrow ResNet-18 on every fourth training image of CIFAR-10, 500 a class: few enough for
# training to converge on two CPU cores, before and after pruning.
_base_ = '../../configs/resnet/resnet18-w8_1xb128-24e_cifar10.py'

# A quarter of the images in batches of half the size: 78 iterations an epoch.
train_dataloader = dict(
    batch_size=64, num_workers=0, dataset=dict(indices=list(range(0, 20000, 4))))
val_dataloader = dict(num_workers=0)
test_dataloader = dict(num_workers=0)
# A training step takes two thirds of the time.
default_hooks = dict(channels_last=dict(type='ChannelsLastHook'))

max_epochs = 60
train_cfg = dict(max_epochs=max_epochs, val_interval=10)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=150),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, T_max=max_epochs, by_epoch=True,
         convert_to_iter_based=True, eta_min=0),
]
