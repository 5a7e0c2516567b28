"""adasap-prune: one-shot pruning of a trained detector."""

import json
import re

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from rich.console import Console

from adasap_det.checkpoint.loading import load_model
from adasap_det.cli import prune, prune_command, prune_options, train
from adasap_det.cli.common import load_config
from adasap_det.cli.test import main as run_test
from adasap_det.pruning import (
    MagnitudeImportance,
    ParamsBudget,
    Pruner,
    count_macs,
    find_channel_groups,
)
from adasap_det.pruning.graph.tracing import example_image
from adasap_det.utils.config_tree import iter_hooks
from adasap_det.utils.device import device_identity
from adasap_det.utils.model_recalibration import recalibrate_model
from adasap_det.utils.validation import validation_metric

from ..helpers.toy import ToyDetector

SIZE = ['--input-size', '96', '96']


@pytest.fixture
def trained(config, tmp_path):
    assert train.main([str(config), '--work-dir', str(tmp_path / 'run')]) == 0
    return config, tmp_path / 'run' / 'iter_2.pth'


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ([], ['--keep-ratio, --max-cost', '--sensitivity']),
        (['--dry-run', '--sensitivity'], ['--dry-run', '--sensitivity']),
        (['--keep-ratio', '1.5'], ['budget.keep_ratio', '1.5']),
        (['--max-cost', '3 ells'], ['budget.max_cost', '3 ells']),
        (['--keep-ratio', '0.5', '--importance', 'Magic'], ['Magic', 'TaylorImportance']),
        (['--keep-ratio', '0.5', '--round-to', '0'], ['--round-to']),
        (['--keep-ratio', '0.5', '--recalibrate-batches', '-1'], ['--recalibrate-batches']),
        (['--keep-ratio', '0.5', '--metric', 'pascal_voc/AP50'], ['--metric', '--sensitivity']),
        (['--keep-ratio', '0.5', '--min-keep-ratio', '1'], ['--min-keep-ratio', '1.0']),
        (['--keep-ratio', '0.5', '--keep-ratios', 'neck=half'], ['PATTERN=RATIO', "'neck=half'"]),
        (['--keep-ratio', '0.5', '--keep-ratios', '0.5'], ['PATTERN=RATIO', "'0.5'"]),
        (['--keep-ratio', '0.5', '--device', 'gpu'], ["device 'gpu'", 'cpu, cuda']),
        (['--keep-ratio', '0.5'], ["checkpoint 'none.pth' does not exist"]),
    ],
)
def test_usage_errors_are_one_line(config, capsys, options, words):
    assert prune.main([str(config), 'none.pth', *options]) == 2
    err = capsys.readouterr().err
    assert err.count('\n') == 1
    for word in words:
        assert word in err


@pytest.mark.slow
def test_batch_norm_statistics_are_re_estimated_on_training_data(trained, tmp_path, capsys):
    config, checkpoint = trained
    models = []
    for batches in (0, 2):
        out = tmp_path / str(batches)
        options = ['--keep-ratio', '0.6', '--recalibrate-batches', str(batches), *SIZE]
        assert prune.main([str(config), str(checkpoint), *options, '--out', str(out)]) == 0
        err = capsys.readouterr().err
        assert ('2 training batches' if batches else '--recalibrate-batches 40') in err
        models.append(load_model(Config.fromfile(config), out / 'iter_2_pruned.pth')[0])
    cfg = Config.fromfile(config)
    recalibrate_model(models[0], cfg.train_dataloader, batches=2)
    expected = models[0].state_dict()
    for name, value in models[1].state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.slow
def test_prunes_tests_and_fine_tunes(trained, tmp_path, capsys):
    config, checkpoint = trained
    out = tmp_path / 'pruned'
    options = ['--keep-ratio', '0.6', '--budget', 'macs', '--importance', 'TaylorImportance', *SIZE]
    assert prune.main([str(config), str(checkpoint), *options, '--batches', '2', '--round-to', '2',
                       '--out', str(out)]) == 0  # fmt: skip
    written = capsys.readouterr().out.split()
    assert written[-2:] == [str(out / 'iter_2_pruned.pth'), str(out / 'iter_2_pruned.py')]
    dense, _ = load_model(Config.fromfile(config), checkpoint)
    small, _ = load_model(Config.fromfile(config), out / 'iter_2_pruned.pth')
    size = (96, 96)
    share = count_macs(small, input_size=size) / count_macs(dense, input_size=size)
    assert 0.55 < share <= 0.6
    assert run_test([written[-1], written[-2], '--work-dir', str(tmp_path / 'test')]) == 0
    assert train.main([written[-1], '--work-dir', str(tmp_path / 'tuned')]) == 0
    tuned = torch.load(tmp_path / 'tuned' / 'iter_2.pth', weights_only=True)
    shapes = {name: tensor.shape for name, tensor in tuned['state_dict'].items()}
    assert shapes == {name: tensor.shape for name, tensor in small.state_dict().items()}


def test_the_written_config_trains_in_a_folder_of_its_own(tmp_path):
    """Not in the dense run's, over its checkpoints; nor with the launcher of this command."""
    dense = Config(dict(work_dir='work_dirs/dense', launcher='pytorch', model=dict(type='SSD')))
    path = tmp_path / 'epoch_2_pruned.py'
    prune_command.pruned_config(dense, path.with_suffix('.pth')).dump(path)
    assert not {'work_dir', 'launcher'} & set(Config.fromfile(path))
    cfg = load_config(train._parser().parse_args([str(path)]))
    assert cfg.work_dir == './work_dirs/epoch_2_pruned'
    assert (dense.work_dir, dense.launcher) == ('work_dirs/dense', 'pytorch')


def test_the_written_config_has_no_pruning_hook_and_keeps_the_others(tmp_path):
    pruning = dict(type='PruningHook', budget=dict(type='ParamsBudget', keep_ratio=0.5))
    others = dict(logger=dict(type='LoggerHook'), random_state=dict(type='RandomStateHook'))
    path = tmp_path / 'epoch_2_pruned.py'
    for hooks in (
        dict(default_hooks=dict(others, pruning=pruning), custom_hooks=[dict(type='EMAHook')]),
        dict(default_hooks=others, custom_hooks=[pruning, dict(type='EMAHook')]),
    ):
        dense = Config(dict(model=dict(type='SSD'), **hooks))
        prune_command.pruned_config(dense, path.with_suffix('.pth')).dump(path)
        written = Config.fromfile(path)
        assert written.custom_hooks == [dict(type='EMAHook')]
        assert written.default_hooks == dict(others, structure=dict(type='StructureHook'))
        assert [hook['type'] for hook in iter_hooks(dense)].count('PruningHook') == 1


@pytest.mark.slow
def test_ratios_of_layers(trained, tmp_path, capsys):
    config, checkpoint = trained
    options = ['--keep-ratio', '0.8', '--round-to', '1', *SIZE, '--out', str(tmp_path / 'pruned')]
    dense, _ = load_model(Config.fromfile(config), checkpoint)
    name = next(iter(find_channel_groups(dense, example_image((96, 96))).groups)).name
    ratios = ['--keep-ratios', f'{name}=0.5']
    assert prune.main([str(config), str(checkpoint), *options, *ratios]) == 0
    small, _ = load_model(Config.fromfile(config), capsys.readouterr().out.split()[-2])
    channels = [model.get_submodule(name).out_channels for model in (dense, small)]
    assert channels[1] == channels[0] // 2


@pytest.mark.slow
def test_model_is_on_device_and_checkpoint_on_cpu(trained, tmp_path, monkeypatch):
    config, checkpoint = trained
    steps = []
    move, prune_model, save = BaseModel.to, Pruner.prune, prune_command.save_pruned

    def to(self, device):
        steps.append(str(device))
        return move(self, 'cpu')

    def noted_prune(self):
        steps.append('pruned')
        return prune_model(self)

    def save_pruned(*args, **options):
        steps.append('saved')
        return save(*args, **options)

    monkeypatch.setattr(BaseModel, 'to', to)
    monkeypatch.setattr(Pruner, 'prune', noted_prune)
    monkeypatch.setattr(prune_options, 'usable_device', torch.device)
    monkeypatch.setattr(prune_command, 'save_pruned', save_pruned)
    options = ['--keep-ratio', '0.6', *SIZE, '--device', 'cuda', '--out', str(tmp_path / 'pruned')]
    assert prune.main([str(config), str(checkpoint), *options]) == 0
    assert steps[:4] == ['cuda', 'pruned', 'cpu', 'saved']


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs CUDA')
@pytest.mark.parametrize('more', [['--budget', 'latency'], ['--importance', 'TaylorImportance']])
def test_prunes_on_a_gpu(trained, tmp_path, more):
    config, checkpoint = trained
    out, table = tmp_path / 'pruned', tmp_path / 'table.json'
    options = ['--keep-ratio', '0.7', *SIZE, *more, '--batches', '1', '--table', str(table)]
    assert prune.main([str(config), str(checkpoint), *options, '--device', 'cuda', '--out',
                       str(out)]) == 0  # fmt: skip
    state = torch.load(out / 'iter_2_pruned.pth', weights_only=True)['state_dict']
    assert {tensor.device.type for tensor in state.values()} == {'cpu'}
    if 'latency' in more:
        identity = device_identity(torch.device('cuda'))
        assert json.loads(table.read_text())['device'] == identity


@pytest.mark.slow
def test_an_unreachable_budget_names_layers_and_writes_nothing(trained, tmp_path, capsys):
    config, checkpoint = trained
    out = tmp_path / 'pruned'
    assert (
        prune.main(
            [str(config), str(checkpoint), '--keep-ratio', '0.001', '--out', str(out), *SIZE]
        )
        == 2
    )
    assert 'cannot be reached' in capsys.readouterr().err
    assert not out.exists()


def test_a_checkpoint_is_needed_unless_nothing_is_written(config, capsys):
    assert prune.main([str(config), '--keep-ratio', '0.5']) == 2
    assert 'give a checkpoint, or --dry-run' in capsys.readouterr().err


@pytest.mark.slow
def test_dry_run_prints_what_would_be_pruned_and_writes_nothing(config, tmp_path, capsys):
    out = tmp_path / 'pruned'
    options = [str(config), '--dry-run', *SIZE, '--round-to', '2', '--exclude', 'neck',
               '--out', str(out)]  # fmt: skip
    assert prune.main([*options, '--keep-ratio', '0.5']) == 0
    printed = capsys.readouterr().out
    facts = dict(re.findall(r'^(.+?)  +(.+)$', printed, re.MULTILINE))
    assert facts['input size'] == '96 x 96 pixels'
    assert int(facts['channel groups']) > 5
    assert 0 < float(facts['permutation error'].split()[0]) < 1e-12
    assert facts['layers skipped'].startswith('5, and 6 output layers')
    assert 'excluded' in printed
    assert re.search(r'parameters .* (49|50)\.\d%', printed), printed
    assert not out.exists()
    assert prune.main(options) == 0  # without an amount: the dense network
    assert re.search(r'parameters .* 100\.0%', capsys.readouterr().out)


@pytest.mark.slow
def test_a_config_without_a_size_needs_the_option(trained, capsys):
    config, checkpoint = trained
    assert prune.main([str(config), str(checkpoint), '--keep-ratio', '0.5']) == 2
    assert 'give --input-size H W' in capsys.readouterr().err


@pytest.mark.slow
def test_sensitivity(trained, tmp_path):
    config, checkpoint = trained
    out = tmp_path / 'seen'
    assert prune.main([str(config), str(checkpoint), '--sensitivity', *SIZE, '--batches', '1',
                       '--round-to', '16', '--out', str(out)]) == 0  # fmt: skip
    found = json.loads((out / 'sensitivity.json').read_text())
    assert found['loss'] > 0
    groups = {row['group'] for row in found['groups']}
    assert len(groups) > 5
    assert {row['value'] for row in found['groups']} != {found['loss']}
    assert (out / 'sensitivity.svg').stat().st_size > 1000


def test_random_draws_are_equal_in_each_measurement(tmp_path):
    model = ToyDetector()
    pruner = Pruner(
        model,
        example_image((6, 6)),
        importance=MagnitudeImportance(),
        budget=ParamsBudget(keep_ratio=0.5),
    )
    args = prune._parser().parse_args(['config', 'checkpoint', '--round-to', '2'])

    def drawn(_):
        return float(torch.rand(()))

    prune_command._write_sensitivity(args, pruner, drawn, tmp_path, Console(quiet=True))
    found = json.loads((tmp_path / 'sensitivity.json').read_text())
    assert {row['value'] for row in found['groups']} == {found['loss']}


@pytest.mark.slow
def test_sensitivity_by_a_metric(trained, tmp_path, capsys):
    config, checkpoint = trained
    out = tmp_path / 'seen'
    options = [str(config), str(checkpoint), '--sensitivity', *SIZE, '--round-to', '128']
    assert prune.main([*options, '--metric', 'accuracy/top1', '--out', str(out)]) == 2
    err = capsys.readouterr().err
    assert "no metric 'accuracy/top1'" in err
    assert 'pascal_voc/mAP' in err
    assert not out.exists()
    assert prune.main([*options, '--metric', 'pascal_voc/mAP', '--out', str(out)]) == 0
    found = json.loads((out / 'sensitivity.json').read_text())
    cfg = Config.fromfile(config)
    model, _ = load_model(cfg, checkpoint)
    assert found['pascal_voc/mAP'] == validation_metric(cfg, 'pascal_voc/mAP')(model)
    assert 'pascal_voc/mAP with only this group pruned' in (out / 'sensitivity.svg').read_text()
