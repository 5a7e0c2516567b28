# CIFAR-10 as image folders, train/<class>/* and test/<class>/*, as tools/make_voc_c.py reads them.
# CIFAR10_ROOT sets where they are: CIFAR10_ROOT=/data/cifar10/
dataset_type = 'CustomDataset'
data_root = '{{$CIFAR10_ROOT:data/cifar10/}}'
classes = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')

data_preprocessor = dict(
    num_classes=10, to_rgb=True,
    # of the training images, RGB
    mean=[125.307, 122.961, 113.8575], std=[51.5865, 50.847, 51.255])

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=128, num_workers=2, persistent_workers=False,  # so that resumed runs are bit-equal
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type, data_root=data_root, data_prefix='train', metainfo=dict(classes=classes),
        pipeline=train_pipeline))
# data_root is the folder that holds the classes, so that a corrupted copy can replace it.
val_dataloader = dict(
    batch_size=250, num_workers=2, persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type, data_root=data_root + 'test', metainfo=dict(classes=classes),
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator
