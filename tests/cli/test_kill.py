"""Runs of ``adasap-train`` ended by SIGKILL and resumed, on pictures."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from adasap_det import config_path
from adasap_det.datasets import make_shapes_voc

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]

CONFIG = """
_base_ = {base!r}
custom_imports = dict(imports=['adasap_det', 'kill'], allow_failed_imports=False)
data_root = {data!r}
train_dataloader = dict(
    batch_size=4, num_workers=1, persistent_workers=False, dataset=dict(data_root=data_root),
    sampler=dict(type='DefaultSampler', shuffle=True))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=4, val_interval=2)
param_scheduler = [dict(type='StepLR', step_size=3)]
log_processor = dict(by_epoch=True)
default_hooks = dict(checkpoint=dict(
    by_epoch=True, interval=1, max_keep_ckpts=2, backend_args=dict(backend='atomic')))
optim_wrapper = dict(
    _delete_=True, type='AdaSAPOptimWrapper', rho_max=0.2, rho=0.2,
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9))
custom_hooks = [
    dict(type='RandomStateHook'), dict(type='KillHook'),
    dict(type='PruningHook', budget=dict(type='ParamsBudget', keep=0.5), prune_begin=2,
         prune_steps=2, prune_interval=2, round_to=8, input_size=(160, 160)),
]
"""

# KILL: 'iter 9' before that iteration, 'replace epoch_3.pth' while that file takes its name,
# 'cut 1' in the middle of the second cut.
KILL = """
import os
import signal
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
import adasap_det.hooks.pruning_hook as pruning_hook

what, when = os.environ.get('KILL', ' ').split(' ')

@HOOKS.register_module()
class KillHook(Hook):
    cuts = 0

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if what == 'iter' and runner.iter == int(when):
            os.kill(os.getpid(), signal.SIGKILL)

replace = os.replace
def killing_replace(source, target, **options):
    if what == 'replace' and str(target).endswith(when):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target, **options)
os.replace = killing_replace

cut_channels = pruning_hook.cut_channels
def killing_cut(*args, **options):
    groups = cut_channels(*args, **options)
    if what == 'cut' and KillHook.cuts == int(when):
        os.kill(os.getpid(), signal.SIGKILL)
    KillHook.cuts += 1
    return groups
pruning_hook.cut_channels = killing_cut
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('kill')
    make_shapes_voc(folder / 'data', num_train=16, num_val=2, num_test=2, seed=1)
    (folder / 'kill.py').write_text(KILL)
    text = CONFIG.format(base=config_path('demo/shapes_dense.py'), data=f'{folder}/data/')
    (folder / 'config.py').write_text(text)
    return folder


def train(folder, work_dir, *options, kill=None):
    command = [sys.executable, str(ROOT / 'tools/train.py'), str(folder / 'config.py')]
    done = subprocess.run(
        [*command, '--work-dir', str(work_dir), *options],
        env={
            **os.environ,
            'PYTHONPATH': f'{ROOT}{os.pathsep}{folder}',
            'OMP_NUM_THREADS': '1',
            **({'KILL': kill} if kill else {}),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == (-signal.SIGKILL if kill else 0), done.stderr[-3000:]


@pytest.fixture(scope='module')
def left_alone(folder):
    train(folder, folder / 'alone')
    return torch.load(folder / 'alone' / 'epoch_4.pth', weights_only=True)


@pytest.mark.parametrize(
    'kill',
    ['iter 6', 'cut 1', 'iter 13', 'replace epoch_3.pth'],
    ids=['adaptive stage', 'while cutting', 'uniform stage', 'while saving'],
)
def test_a_killed_and_resumed_run_ends_in_the_same_weights(folder, left_alone, kill):
    work_dir = folder / kill.replace(' ', '_')
    train(folder, work_dir, kill=kill)
    assert not (work_dir / 'epoch_4.pth').exists()
    train(folder, work_dir, '--resume')
    resumed = torch.load(work_dir / 'epoch_4.pth', weights_only=True)
    assert set(resumed['state_dict']) == set(left_alone['state_dict'])
    for name, tensor in left_alone['state_dict'].items():
        assert torch.equal(resumed['state_dict'][name], tensor), name
    for index, state in left_alone['optimizer']['state'].items():
        momentum = resumed['optimizer']['state'][index]['momentum_buffer']
        assert torch.equal(momentum, state['momentum_buffer'])
    assert resumed['meta']['adasap_det'] == left_alone['meta']['adasap_det']
