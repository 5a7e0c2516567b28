# SSDLite-MobileNetV2 at 160x160 on Pascal VOC 2012, six classes: the dense detector of the study.
# 160 pixels because 224 take twice the time: two CPU cores then allow fewer epochs, and runs that
# have not converged say nothing.
_base_ = '../../configs/ssdlite/ssdlite224_mobilenetv2_1xb16-8e_voc2012-6cls.py'

input_size = 160
model = dict(bbox_head=dict(anchor_generator=dict(
    # 15, 35, 55, 75 and 95 % of the input, as at 224; maps of 10, 5, 3, 2 and 1 pixels.
    strides=[16, 32, 53, 80, 160], min_sizes=[24.0, 56.0, 88.0, 120.0, 152.0],
    max_sizes=[56.0, 88.0, 120.0, 152.0, 160.0])))

__resize = dict(type='Resize', scale=(input_size, input_size), keep_ratio=False)
train_pipeline = [
    __resize if step['type'] == 'Resize' else step for step in _base_.train_pipeline]
test_pipeline = [
    __resize if step['type'] == 'Resize' else step for step in _base_.test_pipeline]
# One worker, as each run has one thread.
train_dataloader = dict(num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

max_epochs = 24
train_cfg = dict(max_epochs=max_epochs, val_interval=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=200),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, T_max=max_epochs, by_epoch=True,
         convert_to_iter_based=True, eta_min=0),
]
# A training step takes two thirds of the time on these CPUs, thanks to the depthwise convolutions.
default_hooks = dict(channels_last=dict(type='ChannelsLastHook'))
