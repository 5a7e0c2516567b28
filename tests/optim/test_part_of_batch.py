import copy

import pytest
import torch

from adasap_det.optim.part_of_batch import part_of_batch


def test_tensors_and_lists_with_an_entry_an_image_are_cut_to_the_first_images():
    images, samples = torch.arange(8.0).view(8, 1), list('abcdefgh')
    args, kwargs = part_of_batch((images,), {'data_samples': samples, 'mode': 'loss'}, 0.25)
    assert torch.equal(args[0], images[:2])
    assert kwargs == {'data_samples': ['a', 'b'], 'mode': 'loss'}


def test_images_may_be_a_list():
    images = [torch.zeros(3, 2, 2)] * 8
    (part,), _ = part_of_batch((images,), {}, 0.3)
    assert len(part) == 3


@pytest.mark.parametrize(('size', 'ratio', 'count'), [(4, 0.25, 2), (1, 0.25, 1), (6, 1.0, 6)])
def test_two_images_at_least_where_there_are_two(size, ratio, count):
    (part,), _ = part_of_batch((torch.zeros(size, 3),), {}, ratio)
    assert len(part) == count


def test_other_values_are_left_alone():
    names, scale = ['a', 'b', 'c'], torch.tensor(2.0)
    _, kwargs = part_of_batch((torch.zeros(4, 3),), {'names': names, 'scale': scale}, 0.5)
    assert kwargs == {'names': names, 'scale': scale}


def test_part_of_images_that_take_a_gradient_can_be_copied():
    images = torch.rand(4, 3, requires_grad=True)
    (part,), _ = part_of_batch((images,), {}, 0.5)
    copied = copy.deepcopy(part)
    assert copied.requires_grad and torch.equal(copied, images[:2])


def test_without_images():
    with pytest.raises(ValueError, match="ascent='subbatch' found no tensor"):
        part_of_batch(('text',), {'mode': 'loss'}, 0.25)
