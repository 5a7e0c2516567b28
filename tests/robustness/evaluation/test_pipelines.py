"""Images are corrupted after the crop for ImageNet-C, in full for detection."""

import pytest

from adasap_det.robustness.evaluation.pipelines import (
    insert_after_cropping,
    insert_after_loading,
    remove_cropping,
)

NEW = dict(type='CorruptImage')


def steps(*names):
    return [dict(type=name) for name in names]


def names(pipeline):
    return [step['type'] for step in pipeline]


def test_insert_directly_after_loading():
    pipeline = steps('mmdet.LoadImageFromFile', 'Resize', 'PackDetInputs')
    assert names(insert_after_loading(pipeline, NEW)) == [
        'mmdet.LoadImageFromFile', 'CorruptImage', 'Resize', 'PackDetInputs',
    ]  # fmt: skip
    with pytest.raises(ValueError, match='no LoadImageFromFile'):
        insert_after_loading(steps('Resize'), NEW)


@pytest.mark.parametrize('crop', ['CenterCrop', 'EfficientNetCenterCrop', 'mmpretrain.CenterCrop'])
def test_insert_after_the_crop_and_remove_the_crop(crop):
    pipeline = steps('LoadImageFromFile', 'ResizeEdge', crop, 'PackInputs')
    assert names(insert_after_cropping(pipeline, NEW))[2:] == [crop, 'CorruptImage', 'PackInputs']
    assert names(remove_cropping(pipeline)) == ['LoadImageFromFile', 'PackInputs']


def test_insert_after_a_pil_image_is_converted_to_an_array():
    pipeline = steps(
        'LoadImageFromFile', 'NumpyToPIL', 'torchvision/Resize', 'torchvision/CenterCrop',
        'PILToNumpy', 'PackInputs',
    )  # fmt: skip
    assert names(insert_after_cropping(pipeline, NEW))[-3:] == [
        'PILToNumpy',
        'CorruptImage',
        'PackInputs',
    ]


def test_insert_after_loading_without_a_crop():
    assert names(insert_after_cropping(steps('LoadImageFromFile', 'PackInputs'), NEW)) == [
        'LoadImageFromFile', 'CorruptImage', 'PackInputs',
    ]  # fmt: skip


@pytest.mark.parametrize('change', [lambda p: insert_after_cropping(p, NEW), remove_cropping])
def test_unknown_crop_is_rejected(change):
    """Images would be corrupted before the crop, or cropped twice, which is not ImageNet-C."""
    with pytest.raises(ValueError, match=r'crops with RandomResizedCrop.*EfficientNetCenterCrop'):
        change(steps('LoadImageFromFile', 'RandomResizedCrop', 'PackInputs'))
