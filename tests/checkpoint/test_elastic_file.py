"""Sizes of a file that is written out by hand: a convolution of four channels under a norm."""

from collections import OrderedDict

import pytest
import torch

from adasap_det.checkpoint import elastic_file
from adasap_det.checkpoint.elastic_file import SIZES_KEY, choose_size
from adasap_det.checkpoint.structure import META_KEY, marks_in


def steps(*values):
    return torch.tensor(values, dtype=torch.int)


@pytest.fixture
def content():
    """The channels go in the order 2, 0, 3; channel 1 stays. A step saves 20 of 100 parameters."""
    order = steps(1, 3, 0, 2)
    state = OrderedDict(
        {
            'conv.weight': torch.arange(8.0).view(4, 2),
            'norm.running_mean': torch.tensor([10.0, 20.0, 30.0, 40.0]),
            'norm.running_var': torch.tensor([1.0, 2.0, 3.0, 4.0]),
            'out.weight': torch.arange(4.0).view(1, 4),
            'last.running_mean': torch.tensor([5.0]),
        }
    )
    state._metadata = OrderedDict({'': {'version': 1}, 'norm': {'version': 2}})
    whole = {name: state[name] for name in state if 'running' in name}
    after_three = {
        'norm.running_mean': torch.tensor([26.0]),
        'norm.running_var': torch.tensor([8.0]),
        'last.running_mean': torch.tensor([8.0]),
    }
    structure = {
        'format': 2,
        'pruned_dims': {},
        'kept': {'conv': [0, 1, 2, 3]},
        'dense_channels': {'conv': 4},
        'removed_blocks': [],
    }
    return {
        'state_dict': state,
        'meta': {META_KEY: {**structure, 'shapes': {}}, 'epoch': 7},
        SIZES_KEY: {
            'format': 1,
            'structure': structure,
            'channels': {'conv': order},
            'positions': {
                'conv.weight': {0: order},
                'norm.running_mean': {0: order},
                'norm.running_var': {0: order},
                'out.weight': {1: order},
            },
            'costs': {
                'parameters': torch.tensor([100.0, 80.0, 60.0, 40.0]),
                'MACs': torch.tensor([10.0, 9.0, 6.0, 1.0]),
            },
            'statistics': [{'step': 0, 'tensors': whole}, {'step': 3, 'tensors': after_three}],
            'trained': None,
        },
    }


@pytest.mark.parametrize(
    ('ratio', 'rows'),
    [
        ({'keep_ratio': 1.0}, [0, 1, 2, 3]),
        ({'keep_ratio': 0.8}, [0, 1, 3]),
        ({'keep_ratio': 0.79}, [1, 3]),
        ({'keep_ratio': 0.4}, [1]),
        ({'macs_ratio': 0.9}, [0, 1, 3]),
        ({'macs_ratio': 0.59}, [1]),
    ],
)
def test_a_size_is_the_largest_within_the_ratio(content, ratio, rows):
    state = choose_size(content, **ratio)['state_dict']
    assert state['conv.weight'].tolist() == content['state_dict']['conv.weight'][rows].tolist()
    assert state['out.weight'].tolist() == [[float(row) for row in rows]]
    mark = marks_in(state)['']
    assert mark['kept'] == {'conv': rows}
    assert mark['dense_channels'] == {'conv': 4}
    assert mark['pruned_dims'] == (
        {
            'conv.weight': [0],
            'norm.running_mean': [0],
            'norm.running_var': [0],
            'out.weight': [1],
        }
        if len(rows) < 4
        else {}
    )
    assert state._metadata['norm'] == {'version': 2}
    assert META_KEY not in content['state_dict']._metadata['']


def test_statistics_between_two_stored_sizes(content):
    """Two thirds of the way for the channel that both have; the larger's for the other one."""
    state = choose_size(content, keep_ratio=0.6)['state_dict']
    torch.testing.assert_close(state['norm.running_mean'], torch.tensor([24.0, 40.0]))
    torch.testing.assert_close(state['norm.running_var'], torch.tensor([6.0, 4.0]))
    torch.testing.assert_close(state['last.running_mean'], torch.tensor([7.0]))
    assert content['state_dict']['norm.running_mean'].tolist() == [10, 20, 30, 40]


def test_statistics_of_stored_sizes_are_exact(content):
    state = choose_size(content, keep_ratio=0.4)['state_dict']
    assert (state['norm.running_mean'], state['last.running_mean']) == (26.0, 8.0)


def test_below_the_smallest_stored_size_its_statistics_are_taken(content):
    content[SIZES_KEY]['statistics'].pop()
    state = choose_size(content, keep_ratio=0.6)['state_dict']
    assert state['norm.running_mean'].tolist() == [20, 40]
    assert state['last.running_mean'].tolist() == [5]


def test_without_a_ratio_the_whole_checkpoint_is_returned(content):
    assert choose_size(content, keep_ratio=None) is content


def test_the_structure_of_the_whole_network_is_not_that_of_a_size(content):
    assert choose_size(content, keep_ratio=0.5)['meta'] == {'epoch': 7}


@pytest.mark.parametrize(
    ('ratios', 'message'),
    [
        ({'keep_ratio': 0.5, 'macs_ratio': 0.5}, 'keep_ratio and macs_ratio exclude each other'),
        ({'keep_ratio': 0.39}, r'keep_ratio=0\.39 cannot be reached; .* has 0\.4000 of the param'),
        ({'macs_ratio': 1.1}, r'macs_ratio must lie in \(0, 1\], got 1\.1'),
        ({'keep_ratio': 0.0}, r'keep_ratio must lie in \(0, 1\], got 0\.0'),
        ({'latency_ratio': 0.5}, 'latency_ratio: the file has costs in parameters, MACs only'),
    ],
)
def test_ratios_that_cannot_be_had(content, ratios, message):
    with pytest.raises(ValueError, match=message):
        choose_size(content, **ratios)


def test_a_file_of_one_size(content):
    del content[SIZES_KEY]
    with pytest.raises(ValueError, match=r'keep_ratio=0\.5 chooses from the sizes .* single size'):
        choose_size(content, keep_ratio=0.5)


def test_another_format(content):
    content[SIZES_KEY]['format'] = 9
    with pytest.raises(ValueError, match=r'sizes of format 9 .* reads format 1; write it again'):
        choose_size(content, keep_ratio=0.5)


def test_a_size_outside_of_the_trained_range_is_a_warning(content, monkeypatch):
    lines = []
    monkeypatch.setattr(elastic_file, 'print_log', lambda line, **options: lines.append(line))
    content[SIZES_KEY]['trained'] = {'keep_ratio_range': [0.5, 1.0], 'unit': 'parameters'}
    for ratio in ({'keep_ratio': 0.5}, {'keep_ratio': 1.0}, {'macs_ratio': 0.2}):
        choose_size(content, **ratio)
    assert not lines
    choose_size(content, keep_ratio=0.4)
    assert lines == [
        '0.4 of the parameters lies outside of the sizes that were trained, 0.5 to 1.0; the '
        'accuracy may be low'
    ]
