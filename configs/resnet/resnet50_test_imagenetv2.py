# ResNet-50, dense or pruned, tested on ImageNet-V2: R_V2 is this accuracy through that on ImageNet.
# The other networks by exchanging _base_. IMAGENETV2_ROOT moves the data.
_base_ = 'resnet50_8xb128-90e_in1k.py'

test_dataloader = dict(
    dataset=dict(
        _delete_=True, type='MappedFolder',
        mapping='number',  # folders 0 to 999, whose alphabetical order is another one
        data_root='{{$IMAGENETV2_ROOT:data/imagenetv2-matched-frequency-format-val}}',
        metainfo=dict(classes=[str(label) for label in range(1000)]),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='ResizeEdge', scale=256, edge='short'),
            dict(type='CenterCrop', crop_size=224),
            dict(type='PackInputs'),
        ]))
test_evaluator = dict(_delete_=True, type='ClassificationAccuracy')
