import pytest
import torch
from torch import nn

from adasap_det.checkpoint.attention_layout import HeadTensor, attention_layout
from adasap_det.checkpoint.structure import describe, shrink
from adasap_det.pruning import prune_channels

from ..helpers.attention import MODULES, WIDTH, build, groups_of, mmcv_wrapper, torch_attention

KEPT = torch.tensor([1, 2, 3])

pytestmark = pytest.mark.filterwarnings("ignore:You'd better set embed_dims:UserWarning")


def test_heads_of_stacked_positions():
    # Two blocks, three heads of two positions each.
    heads = HeadTensor('qkv.weight', 0, blocks=2).heads(12, 3)
    assert heads.tolist() == [0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize('name', MODULES)
def test_dense_model_takes_over_the_heads_of_a_state_dict(name):
    model, output = build(name)
    (group,) = groups_of(model)
    prune_channels(model, [group], {group.name: KEPT})
    fresh, _ = build(name)
    assert shrink(fresh, describe(model))
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(output(fresh), output(model))


@pytest.mark.parametrize('name', MODULES)
def test_heads_can_be_removed_in_several_steps(name):
    model, output = build(name)
    (group,) = groups_of(model)
    prune_channels(model, [group], {group.name: KEPT})
    (again,) = groups_of(model)
    assert (again.name, again.size, again.width) == (group.name, 3, group.width)
    prune_channels(model, [again], {again.name: torch.tensor([0, 2])})
    once, _ = build(name)
    prune_channels(once, [group], {group.name: torch.tensor([1, 3])})
    assert torch.equal(output(model), output(once))


@pytest.mark.parametrize('name', MODULES)
def test_module_that_lost_no_head_keeps_its_class(name):
    model, output = build(name)
    before, kind = output(model), type(model['a'])
    (group,) = groups_of(model)
    prune_channels(model, [group], {group.name: torch.arange(4)})
    assert type(model['a']) is kind
    assert torch.equal(output(model), before)


def test_window_attention_keeps_the_width_of_its_heads_where_its_input_shrinks():
    model, _ = build('mmpretrain_window')
    state = {k: v.clone() for k, v in model.state_dict().items()}
    kept = torch.arange(20)  # of 24 channels of the input
    structure = describe(model)
    structure['pruned_dims'] = {'a.qkv.weight': [1], 'a.proj.weight': [0], 'a.proj.bias': [0]}
    structure['shapes'] |= {
        'a.qkv.weight': [72, 20],
        'a.proj.weight': [20, 24],
        'a.proj.bias': [20],
    }
    shrink(model, structure)
    dense, _ = build('mmpretrain_window')
    x = torch.randn(2, 4, 24).double()
    x[..., 20:] = 0
    dense.load_state_dict(state)
    torch.testing.assert_close(model['a'](x[..., kept]), dense['a'](x)[..., kept])
    assert (model['a'].num_heads, model['a'].head_dim) == (4, WIDTH)


def test_wrapper_of_mmcv_knows_its_number_of_heads():
    model = nn.ModuleDict({'a': mmcv_wrapper()})
    (group,) = groups_of(model)
    prune_channels(model, [group], {group.name: KEPT})
    assert model['a'].num_heads == model['a'].attn.num_heads == 3


def test_subclass_is_not_taken_for_its_class():
    class Other(nn.MultiheadAttention):
        pass

    assert attention_layout(Other(8, 2)) is None
    assert attention_layout(torch_attention()) is not None
