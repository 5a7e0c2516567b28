# MobileNet-V1 on ImageNet, the paper's schedule. mmpretrain has no such backbone, so it is timm's
# (pip install timm).
_base_ = [
    '../_base_/datasets/imagenet_bs128.py',
    '../_base_/schedules/imagenet_90e.py',
    '../_base_/adasap_cls_runtime.py',
]
model = dict(
    type='ImageClassifier',
    backbone=dict(type='TIMMBackbone', model_name='mobilenetv1_100'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead', num_classes=1000, in_channels=1024,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0), topk=(1, 5)))
