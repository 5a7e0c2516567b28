"""Where images are corrupted: ImageNet-C on the crop, detection's benchmarks on the whole."""

import pytest

from adasap_det.robustness.evaluation.pipelines import (
    after_cropping,
    after_loading,
    without_cropping,
)

NEW = dict(type='CorruptImage')


def steps(*names):
    return [dict(type=name) for name in names]


def names(pipeline):
    return [step['type'] for step in pipeline]


def test_behind_the_loading():
    pipeline = steps('mmdet.LoadImageFromFile', 'Resize', 'PackDetInputs')
    assert names(after_loading(pipeline, NEW)) == [
        'mmdet.LoadImageFromFile', 'CorruptImage', 'Resize', 'PackDetInputs',
    ]  # fmt: skip
    with pytest.raises(ValueError, match='no LoadImageFromFile'):
        after_loading(steps('Resize'), NEW)


@pytest.mark.parametrize('crop', ['CenterCrop', 'EfficientNetCenterCrop', 'mmpretrain.CenterCrop'])
def test_behind_the_crop_and_not_before_it(crop):
    pipeline = steps('LoadImageFromFile', 'ResizeEdge', crop, 'PackInputs')
    assert names(after_cropping(pipeline, NEW))[2:] == [crop, 'CorruptImage', 'PackInputs']
    assert names(without_cropping(pipeline)) == ['LoadImageFromFile', 'PackInputs']


def test_of_a_pil_image_only_once_it_is_an_array():
    pipeline = steps(
        'LoadImageFromFile', 'NumpyToPIL', 'torchvision/Resize', 'torchvision/CenterCrop',
        'PILToNumpy', 'PackInputs',
    )  # fmt: skip
    assert names(after_cropping(pipeline, NEW))[-3:] == ['PILToNumpy', 'CorruptImage', 'PackInputs']


def test_without_a_crop_behind_the_loading():
    assert names(after_cropping(steps('LoadImageFromFile', 'PackInputs'), NEW)) == [
        'LoadImageFromFile', 'CorruptImage', 'PackInputs',
    ]  # fmt: skip


@pytest.mark.parametrize('change', [lambda p: after_cropping(p, NEW), without_cropping])
def test_a_crop_that_is_not_known_is_refused(change):
    """Its images would be corrupted whole, or cropped twice, which is not ImageNet-C."""
    with pytest.raises(ValueError, match=r'crops with RandomResizedCrop.*EfficientNetCenterCrop'):
        change(steps('LoadImageFromFile', 'RandomResizedCrop', 'PackInputs'))
