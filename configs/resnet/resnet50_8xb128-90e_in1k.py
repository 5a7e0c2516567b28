# ResNet-50 on ImageNet, the paper's network and schedule.
_base_ = [
    'mmpretrain::_base_/models/resnet50.py',
    '../_base_/datasets/imagenet_bs128.py',
    '../_base_/schedules/imagenet_90e.py',
    '../_base_/adasap_cls_runtime.py',
]
