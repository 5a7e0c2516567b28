import pytest

from adasap_det.utils.input_size import config_input_size


@pytest.mark.parametrize(
    ('given', 'hooks', 'expected'),
    [
        ((32, 48), [dict(type='PruningHook', input_size=(8, 8))], (32, 48)),
        (None, [dict(type='Other'), dict(type='PruningHook', input_size=[8, 16])], (8, 16)),
        (None, [], (300, 500)),
    ],
)
def test_command_line_then_hook_then_pipeline(given, hooks, expected):
    pipeline = [dict(type='Resize', scale=(500, 300))]
    cfg = dict(train_dataloader=dict(dataset=dict(pipeline=pipeline)))
    assert config_input_size({**cfg, 'custom_hooks': hooks}, given) == expected
    named = {hook['type']: hook for hook in hooks}
    assert config_input_size({**cfg, 'default_hooks': named}, given) == expected


RANGE = dict(type='RandomResize', scale=[(1333, 640), (1333, 800)], keep_ratio=True)
JITTER = dict(type='RandomResize', scale=(1280, 1280), ratio_range=(0.1, 2.0))
WIDE = dict(type='mmdet.Resize', scale=(1000, 600))


def crop(*size, **more):
    return dict(type='RandomCrop', crop_size=size, **more)


@pytest.mark.parametrize(
    ('pipeline', 'expected'),
    [
        pytest.param([RANGE], (800, 1333), id='a range of scales'),
        pytest.param([dict(type='Resize', scale=512)], (512, 512), id='one number'),
        pytest.param(
            [JITTER, crop(640, 640), dict(type='Pad', size=(640, 640))], (640, 640), id='RTMDet'
        ),
        pytest.param(
            [JITTER, crop(1000, 1000, crop_type='absolute_range', allow_negative_crop=True)],
            (1280, 1280),
            id='a crop of random size',
        ),
        pytest.param([WIDE, crop(0.5, 0.5, crop_type='relative')], (600, 1000), id='relative crop'),
        pytest.param([WIDE, crop(400, 300)], (300, 400), id='width first'),
        pytest.param([WIDE, crop(800, 800)], (600, 800), id='limited to the image'),
        pytest.param([crop(300, 300), WIDE], (600, 1000), id='resized after the crop'),
        pytest.param([WIDE, dict(type='Pad', size=(1024, 768))], (768, 1024), id='padded'),
        pytest.param([WIDE, dict(type='Pad', size_divisor=32)], (600, 1000), id='by a divisor'),
        pytest.param(
            [dict(type='torchvision/RandomResizedCrop', size=224, scale=(0.08, 1.0))],
            (224, 224),
            id='area fractions',
        ),
        pytest.param(
            [dict(type='torchvision/Resize', size=(300, 500))], (300, 500), id='height first'
        ),
        pytest.param(
            [dict(type='MinIoURandomCrop', min_crop_size=0.3), WIDE, RANGE, crop(300, 300)],
            (600, 1000),
            id='another branch',
        ),
    ],
)
def test_output_size_of_the_pipeline(pipeline, expected):
    cfg = dict(train_dataloader=dict(dataset=dict(type='CocoDataset', pipeline=pipeline)))
    assert config_input_size(cfg) == expected


def test_classifiers_crop_by_height_first():
    pipeline = [dict(type='Resize', scale=(510, 510)), crop(384, 256)]
    cfg = dict(default_scope='mmpretrain', train_dataloader=dict(pipeline=pipeline))
    assert config_input_size(cfg) == (384, 256)
    pipeline[1]['crop_size'] = 448
    assert config_input_size(cfg) == (448, 448)


def test_config_without_a_size():
    with pytest.raises(ValueError, match='give --input-size H W'):
        config_input_size({})
