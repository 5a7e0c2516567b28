# MobileNetV2 on ImageNet, the paper's schedule.
_base_ = [
    'mmpretrain::_base_/models/mobilenet_v2_1x.py',
    '../_base_/datasets/imagenet_bs128.py',
    '../_base_/schedules/imagenet_90e.py',
    '../_base_/adasap_cls_runtime.py',
]
