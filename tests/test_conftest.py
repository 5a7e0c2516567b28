"""Tests are not affected by MMEngine's state from earlier tests; failures are named at once."""

import subprocess
import sys
import time
from types import SimpleNamespace

from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import nn

from .helpers.code_blocks import ROOT


def test_runs_started_in_the_same_second_are_independent(monkeypatch, tmp_path):
    clock = SimpleNamespace(time=lambda: 1e9, strftime=time.strftime, localtime=time.localtime)
    monkeypatch.setattr('mmengine.runner.runner.time', clock)
    for scope in ('mmdet', 'mmpretrain'):
        folder = tmp_path / scope
        runner = Runner(nn.Identity(), str(folder), experiment_name='mine', default_scope=scope)
        runner.logger.info(f'in {scope}')
        (log,) = folder.rglob('*.log')
        assert f'in {scope}' in log.read_text()
        assert runner.message_hub.get_info('seen', None) is None
        runner.message_hub.update_info('seen', scope)
        runner.visualizer.add_scalar('loss', 1.0)
        assert list(folder.rglob('vis_data/*.json'))
        assert DefaultScope.get_current_instance().scope_name == scope


def test_a_failure_is_named_when_it_occurs(tmp_path):
    path = tmp_path / 'test_sample.py'
    path.write_text('def test_wrong(): assert False\ndef test_right(): pass\n', 'utf-8')
    options = ['-q', '-p', 'tests.conftest', '-p', 'no:cacheprovider', '--no-summary']
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', *options, '--rootdir', tmp_path, path],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    lines = [line for line in done.stdout.splitlines() if line]
    assert lines[0] == 'call failed: test_sample.py::test_wrong'
    assert lines[1].startswith('F.')
