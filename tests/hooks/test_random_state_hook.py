import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from adasap_det.hooks import RandomStateHook

from ..helpers.training_runs import tiny_config


class Draws(Hook):
    """What an iteration would draw."""

    priority = 'LOWEST'

    def __init__(self):
        self.drawn = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.drawn[runner.iter] = (random.random(), np.random.rand(), torch.rand(()).item())


def draws(cfg):
    runner, hook = Runner.from_cfg(cfg), Draws()
    runner.register_hook(hook)
    runner.train()
    return hook.drawn


def test_draws_depend_only_on_seed_and_iteration(tmp_path):
    hooks = [{'type': 'RandomStateHook'}]
    first = draws(tiny_config(tmp_path / 'a', custom_hooks=hooks))
    resumed_cfg = tiny_config(tmp_path / 'a', custom_hooks=hooks, resume=True)
    resumed_cfg.load_from = str(tmp_path / 'a' / 'epoch_3.pth')
    resumed = draws(resumed_cfg)
    assert sorted(resumed) == list(range(18, 36))
    assert resumed == {i: first[i] for i in resumed}
    assert len(set(first.values())) == len(first)
    other = draws(tiny_config(tmp_path / 'b', custom_hooks=hooks, randomness={'seed': 6}))
    assert other[20] != first[20]


def test_resumed_run_without_the_hook_draws_differently(tmp_path):
    first = draws(tiny_config(tmp_path / 'a', custom_hooks=[]))
    resumed_cfg = tiny_config(tmp_path / 'a', custom_hooks=[], resume=True)
    resumed_cfg.load_from = str(tmp_path / 'a' / 'epoch_3.pth')
    assert draws(resumed_cfg)[20] != first[20]


@pytest.mark.parametrize('persistent', [True, False])
def test_warns_about_persistent_workers(tmp_path, monkeypatch, persistent):
    logged = []
    monkeypatch.setattr(
        'adasap_det.hooks.random_state_hook.print_log', lambda text, **_: logged.append(text)
    )
    cfg = tiny_config(tmp_path, custom_hooks=[{'type': 'RandomStateHook'}])
    cfg.train_cfg.max_epochs = 1
    cfg.train_dataloader.update(num_workers=1, persistent_workers=persistent)
    Runner.from_cfg(cfg).train()
    assert any('persistent_workers=False' in text for text in logged) == persistent


@pytest.mark.parametrize(
    ('ranks', 'model', 'warns'),
    [
        (3, SimpleNamespace(find_unused_parameters=False), True),
        (3, SimpleNamespace(find_unused_parameters=True), False),
        (2, SimpleNamespace(find_unused_parameters=False), False),  # a + b is b + a
        (3, nn.Identity(), False),  # another wrapper
    ],
)
def test_warns_about_reduction_order_with_three_ranks(monkeypatch, ranks, model, warns):
    logged = []
    monkeypatch.setattr(
        'adasap_det.hooks.random_state_hook.print_log', lambda text, **_: logged.append(text)
    )
    loader = SimpleNamespace(generator=None, num_workers=0)
    runner = SimpleNamespace(
        world_size=ranks, model=model, seed=0, train_dataloader=loader, train_loop=None
    )
    RandomStateHook().before_train(runner)
    assert any('find_unused_parameters=True' in text for text in logged) == warns
