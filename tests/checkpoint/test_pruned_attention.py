import copy
import io
import pickle

import pytest
import torch
from torch import nn

from adasap_det.pruning import prune_channels

from ..helpers.attention import (
    CHANNELS,
    HEADS,
    MODULES,
    WIDTH,
    build,
    groups_of,
    mask_heads,
    tokens,
    torch_attention,
)

KEPT = torch.tensor([0, 3])

pytestmark = pytest.mark.filterwarnings("ignore:You'd better set embed_dims:UserWarning")


def pruned(name):
    """A model without two of its heads, its output, and the dense one with these masked."""
    model, output = build(name)
    dense = copy.deepcopy(model)
    (group,) = groups_of(model)
    mask_heads(dense, group, KEPT)
    prune_channels(model, [group], {group.name: KEPT})
    return model, output, dense


@pytest.mark.parametrize('name', MODULES)
def test_pruned_module_equals_the_dense_one_with_these_heads_masked(name):
    model, output, dense = pruned(name)
    before = output(build(name)[0])
    expected = output(dense)
    assert not torch.allclose(expected, before, atol=1e-3)
    torch.testing.assert_close(output(model), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize('name', MODULES)
def test_every_parameter_of_a_pruned_module_gets_a_gradient_in_training(name):
    model, output, _ = pruned(name)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.5
        for attribute in ('attn_drop', 'dropout', 'attention_dropout'):
            if isinstance(getattr(module, attribute, None), float):
                setattr(module, attribute, 0.5)
    model.train()
    one, other = output(model), output(model)
    assert torch.equal(one, other) == (name == 'transformers_deformable')  # it has no dropout
    one.square().sum().backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []


@pytest.mark.parametrize('name', MODULES)
def test_pruned_module_can_be_copied_and_pickled(name):
    model, output, _ = pruned(name)
    expected = output(model)
    assert torch.equal(output(copy.deepcopy(model)), expected)
    assert torch.equal(output(pickle.loads(pickle.dumps(model))), expected)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    assert torch.equal(output(torch.load(file, weights_only=False)), expected)


def torch_pair(**options):
    """``nn.MultiheadAttention`` without two heads, and the dense one with these masked."""
    torch.manual_seed(0)
    dense = nn.ModuleDict({'a': nn.MultiheadAttention(CHANNELS, HEADS, **options).double().eval()})
    for parameter in dense.parameters():
        nn.init.normal_(parameter)
    model = copy.deepcopy(dense)
    (group,) = groups_of(model)
    mask_heads(dense, group, KEPT)
    prune_channels(model, [group], {group.name: KEPT})
    return model['a'], dense['a']


@pytest.mark.parametrize('batch_first', [False, True])
@pytest.mark.parametrize('need_weights', [False, True])
@pytest.mark.parametrize('masks', ['none', 'bool', 'float', 'each head'])
def test_masks_and_layouts_are_those_of_pytorch(batch_first, need_weights, masks):
    model, dense = torch_pair(batch_first=batch_first)
    x = tokens()  # 6 images of 4 tokens, or 4 images of 6
    images, count = (6, 4) if batch_first else (4, 6)
    keys = x[:, :3] if batch_first else x[:3]
    attn_mask = padding = ours = None
    if masks != 'none':
        attn_mask = torch.arange(count * 3).view(count, 3) % 4 == 1
        padding = torch.zeros(images, 3, dtype=torch.bool)
        padding[1, 2] = True
    if masks == 'float':
        attn_mask, padding = attn_mask.double() * -2, padding.double() * -3
    if masks == 'each head':
        attn_mask = attn_mask.repeat(images * HEADS, 1, 1)
        attn_mask.view(images, HEADS, count, 3)[:, 3] = False
        ours = attn_mask.view(images, HEADS, count, 3)[:, KEPT].flatten(0, 1)
    options = {'key_padding_mask': padding, 'need_weights': need_weights}
    out, weights = model(x, keys, keys, attn_mask=attn_mask if ours is None else ours, **options)
    expected, all_weights = dense(
        x, keys, keys, attn_mask=attn_mask, average_attn_weights=False, **options
    )
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    if need_weights:
        torch.testing.assert_close(weights, all_weights[:, KEPT].mean(1), rtol=0, atol=1e-12)
    else:
        assert weights is None


def test_one_image_without_a_batch_dimension():
    model, dense = torch_pair()
    x = tokens()[0]
    padding = torch.tensor([False, True, False, False])
    options = {'key_padding_mask': padding, 'average_attn_weights': False}
    out, weights = model(x, x, x, **options)
    expected, all_weights = dense(x, x, x, **options)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(weights, all_weights[KEPT], rtol=0, atol=1e-12)


def test_mask_for_each_dense_head_is_an_error_that_says_what_to_do():
    model, _ = torch_pair(batch_first=True)
    x = tokens()
    with pytest.raises(ValueError, match='exclude this attention'):
        model(x, x, x, attn_mask=torch.zeros(6 * HEADS, 4, 4))


def test_causal_hint_without_a_mask_is_an_error():
    model, _ = torch_pair(batch_first=True)
    x = tokens()
    with pytest.raises(ValueError, match='needs attn_mask'):
        model(x, x, x, is_causal=True)


@pytest.mark.filterwarnings('ignore:.*nested tensors.*:UserWarning')
def test_encoder_avoids_the_fused_kernels_for_evaluation():
    layer = nn.TransformerEncoderLayer(CHANNELS, HEADS, 16, batch_first=True).double()
    torch.manual_seed(0)
    dense = nn.TransformerEncoder(layer, 2).eval()
    for parameter in dense.parameters():
        nn.init.normal_(parameter, std=0.5)
    model = copy.deepcopy(dense)
    assert model.use_nested_tensor
    groups = groups_of(model)
    for group in groups:
        mask_heads(dense, group, KEPT)
    prune_channels(model, groups, {group.name: KEPT for group in groups})
    padding = torch.tensor([[False, False, False, True]] * 6)
    for options in ({}, {'src_key_padding_mask': padding}):
        with torch.no_grad():
            out, expected = model(tokens(), **options), dense(tokens(), **options)
        torch.testing.assert_close(out[:, :3], expected[:, :3], rtol=0, atol=1e-12)


@pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::torch.jit.TracerWarning')
@pytest.mark.parametrize('name', ['mmdet_window', 'torch_attention', 'torchvision_window'])
def test_pruned_module_can_be_exported(name, tmp_path):
    runtime = pytest.importorskip('onnxruntime')
    model, _, _ = pruned(name)
    model = model.float()
    call = MODULES[name][1]

    class Graph(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            return call(self.model['a'], x)

    x = tokens().float()
    file = tmp_path / 'model.onnx'
    graph = Graph().eval()
    torch.onnx.export(graph, (x,), str(file), input_names=['x'], opset_version=17, dynamo=False)
    (out,) = runtime.InferenceSession(str(file)).run(None, {'x': x.numpy()})
    torch.testing.assert_close(torch.from_numpy(out), graph(x), rtol=1e-4, atol=1e-5)


def test_pruned_class_is_still_of_its_class():
    model = nn.ModuleDict({'a': torch_attention()})
    (group,) = groups_of(model)
    prune_channels(model, [group], {group.name: KEPT})
    assert isinstance(model['a'], nn.MultiheadAttention)
    assert model['a'].num_heads == 2
    assert model['a'].head_dim == WIDTH
    prune_channels(model, groups_of(model), {group.name: KEPT[:1]})
    assert type(model['a']).__bases__[1] is nn.MultiheadAttention
    assert model['a'].num_heads == 1
