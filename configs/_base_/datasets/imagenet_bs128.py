# mmpretrain's ImageNet in batches of 128 per GPU. IMAGENET_ROOT sets where the images are.
_base_ = 'mmpretrain::_base_/datasets/imagenet_bs32.py'

data_root = '{{$IMAGENET_ROOT:data/imagenet}}'

train_dataloader = dict(
    batch_size=128, num_workers=8, persistent_workers=False,  # so that resumed runs are bit-equal
    dataset=dict(data_root=data_root))
val_dataloader = dict(
    batch_size=128, num_workers=8, persistent_workers=False, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
