import pytest
import torch
from mmengine.runner import Runner

from ..helpers.training_runs import HOOK, tiny_config, train

LAYOUT = {'type': 'ChannelsLastHook'}


def is_channels_last(tensor):
    """Not is_contiguous alone, which one-pixel kernels satisfy in either layout."""
    return tensor.stride(1) == 1 and tensor.is_contiguous(memory_format=torch.channels_last)


def kernels(model):
    return {n: p for n, p in model.named_parameters() if p.dim() == 4 and p.shape[-1] > 1}


@pytest.mark.parametrize('hooks', [[LAYOUT], [LAYOUT, HOOK]], ids=['dense', 'pruned three times'])
def test_weights_and_momentum_have_the_layout(tmp_path, hooks):
    cfg = tiny_config(tmp_path, custom_hooks=hooks)
    runner = Runner.from_cfg(cfg)
    assert not any(is_channels_last(p) for p in kernels(runner.model).values())
    runner.train()
    found = kernels(runner.model)
    assert found
    for name, kernel in found.items():
        assert is_channels_last(kernel), name
        state = runner.optim_wrapper.optimizer.state[kernel]
        assert is_channels_last(state['momentum_buffer']), name


def test_training_is_the_same_but_for_rounding(tmp_path):
    plain = train(tiny_config(tmp_path / 'a')).model.state_dict()
    hooks = [{'type': 'RandomStateHook'}, LAYOUT, HOOK]
    other = train(tiny_config(tmp_path / 'b', custom_hooks=hooks)).model.state_dict()
    assert list(plain) == list(other)
    for name, tensor in plain.items():
        torch.testing.assert_close(other[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


def test_a_checkpoint_loads_into_the_usual_layout(tmp_path):
    trained = train(tiny_config(tmp_path / 'a', custom_hooks=[LAYOUT, HOOK]))
    cfg = tiny_config(tmp_path / 'b', load_from=str(tmp_path / 'a/epoch_6.pth'))
    loaded = Runner.from_cfg(cfg)
    loaded.load_or_resume()
    for name, tensor in trained.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor), name
