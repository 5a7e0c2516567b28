# Tests ResNet-50, dense or pruned, on ImageNet-V2; change _base_ for another network.
# IMAGENETV2_ROOT sets where the images are.
_base_ = 'resnet50_8xb128-90e_in1k.py'

test_dataloader = dict(
    dataset=dict(
        _delete_=True, type='MappedFolder',
        mapping='number',  # by number: the folders 0 to 999 do not sort as text
        data_root='{{$IMAGENETV2_ROOT:data/imagenetv2-matched-frequency-format-val}}',
        metainfo=dict(classes=[str(label) for label in range(1000)]),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='ResizeEdge', scale=256, edge='short'),
            dict(type='CenterCrop', crop_size=224),
            dict(type='PackInputs'),
        ]))
test_evaluator = dict(_delete_=True, type='ClassificationAccuracy')
