"""adasap-train: changes to the config, usage errors, training and resuming."""

import os
import shutil

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from adasap_det.cli import train, train_command
from adasap_det.cli.common import UsageError


@pytest.mark.parametrize(
    ('before', 'after'),
    [
        ('OptimWrapper', 'AmpOptimWrapper'),
        ('AdaSAPOptimWrapper', 'AmpAdaSAPOptimWrapper'),
        ('AmpAdaSAPOptimWrapper', 'AmpAdaSAPOptimWrapper'),
        (None, 'AmpOptimWrapper'),
    ],
)
def test_amp_switches_to_the_mixed_precision_wrapper(before, after):
    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1))))
    if before is not None:
        cfg.optim_wrapper.type = before
    train_command.use_amp(cfg)
    assert cfg.optim_wrapper.type == after
    assert cfg.optim_wrapper.loss_scale == 'dynamic'


def test_amp_keeps_a_chosen_loss_scale():
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper', loss_scale=512.0)))
    train_command.use_amp(cfg)
    assert cfg.optim_wrapper.loss_scale == 512.0


def test_amp_rejects_unknown_wrappers():
    with pytest.raises(UsageError, match=r"'ApexOptimWrapper'.*set optim_wrapper\.type"):
        train_command.use_amp(Config(dict(optim_wrapper=dict(type='ApexOptimWrapper'))))
    with pytest.raises(UsageError, match='needs an optim_wrapper'):
        train_command.use_amp(Config({}))


def test_lr_scaling_needs_a_base_batch_size():
    cfg = Config(dict(auto_scale_lr=dict(base_batch_size=16, enable=False)))
    train_command.scale_lr(cfg)
    assert cfg.auto_scale_lr.enable is True
    with pytest.raises(UsageError, match='base_batch_size'):
        train_command.scale_lr(Config({}))


@pytest.fixture
def checkpoint(tmp_path) -> str:
    path = str(tmp_path / 'epoch_1.pth')
    torch.save({'meta': {}, 'state_dict': {}, 'optimizer': {}}, path)
    return path


def test_resume_from_a_given_checkpoint(checkpoint, tmp_path):
    cfg = Config(dict(work_dir=str(tmp_path / 'run')))
    train_command.set_resume(cfg, checkpoint)
    assert (cfg.resume, cfg.load_from) == (True, checkpoint)


@pytest.mark.parametrize('by_config', [True, False])
def test_resume_auto_takes_the_newest_readable_checkpoint(checkpoint, tmp_path, by_config):
    cfg = Config(dict(work_dir=str(tmp_path), resume=by_config))
    train_command.set_resume(cfg, None if by_config else 'auto')
    assert (cfg.resume, cfg.load_from) == (True, checkpoint)


def test_resume_auto_without_a_checkpoint_keeps_load_from(checkpoint, tmp_path):
    cfg = Config(dict(work_dir=str(tmp_path / 'new'), load_from=checkpoint))
    train_command.set_resume(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (False, checkpoint)


def test_without_resume_the_config_is_unchanged(tmp_path):
    cfg = Config(dict(work_dir=str(tmp_path)))
    train_command.set_resume(cfg, None)
    assert 'resume' not in cfg and 'load_from' not in cfg


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['none.py'], "config 'none.py' does not exist"),
        (['{config}', '--resume', 'none.pth'], "checkpoint 'none.pth' does not exist"),
        (['{config}', '--cfg-options', 'load_from=none.pth'], "'none.pth' does not exist"),
        (
            ['{config}', '--cfg-options', 'train_dataloader.dataset.data_root=nowhere'],
            "train data (XMLDataset): data_root 'nowhere' does not exist (looked for",
        ),
        (
            ['{config}', '--cfg-options', 'val_dataloader.dataset.ann_file=no.txt'],
            'val data (XMLDataset): ann_file',
        ),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(config, capsys, tmp_path, arguments, message):
    arguments = [a.format(config=config) for a in arguments]
    assert train.main([*arguments, '--work-dir', str(tmp_path / 'run')]) == 2
    err = capsys.readouterr().err
    assert err.startswith('adasap-train: error: ') and message in err
    assert err.count('\n') == 1
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('sampler', ['InfiniteSampler', 'mmdet.GroupInfiniteSampler'])
def test_endless_epochs_are_rejected(sampler):
    loop = dict(type='EpochBasedTrainLoop', max_epochs=2)
    cfg = Config(dict(train_cfg=loop, train_dataloader=dict(sampler=dict(type=sampler))))
    with pytest.raises(UsageError, match=r'never end.*DefaultSampler.*IterBasedTrainLoop'):
        train_command.check_finite_epochs(cfg)
    cfg.train_cfg = dict(by_epoch=True, max_epochs=2)
    with pytest.raises(UsageError, match='never end'):
        train_command.check_finite_epochs(cfg)


@pytest.mark.parametrize(
    ('loop', 'sampler'),
    [('EpochBasedTrainLoop', 'DefaultSampler'), ('IterBasedTrainLoop', 'InfiniteSampler')],
)
def test_finite_loops_are_accepted(loop, sampler):
    train_command.check_finite_epochs(
        Config(dict(train_cfg=dict(type=loop), train_dataloader=dict(sampler=dict(type=sampler))))
    )


def test_error_names_a_broken_annotation_without_any_hook(config, shapes, tmp_path):
    data = tmp_path / 'data'
    shutil.copytree(shapes, data)
    voc = data / 'VOC2007'
    name = (voc / 'ImageSets' / 'Main' / 'train.txt').read_text().split()[0]
    broken = voc / 'Annotations' / f'{name}.xml'
    broken.write_text('<annotation><size>')
    text = config.read_text().replace(repr(str(shapes)), repr(str(data)))
    config.write_text(text + 'default_hooks.update(data_check=None)\n')
    with pytest.raises(ValueError, match=f'{broken.name} cannot be read'):
        train.main([str(config), '--work-dir', str(tmp_path / 'work')])


def test_unknown_options_exit_2(capsys):
    with pytest.raises(SystemExit) as exit_:
        train.main(['some.py', '--work-dri', 'x'])
    assert exit_.value.code == 2
    assert 'unrecognized arguments: --work-dri x' in capsys.readouterr().err


def test_note_on_threads_is_in_the_log_file(config, tmp_path, monkeypatch):
    monkeypatch.setattr(train, 'let_threads_sleep', lambda: 'threads sleep')
    monkeypatch.setattr(Runner, 'train', lambda self: None)
    assert train.main([str(config), '--work-dir', str(tmp_path)]) == 0
    (log,) = tmp_path.glob('2*/*.log')
    assert 'threads sleep' in log.read_text()


@pytest.mark.slow
def test_trains_and_resumes_from_the_newest_readable_checkpoint(config, tmp_path):
    run = tmp_path / 'run'
    assert train.main([str(config), '--work-dir', str(run)]) == 0
    assert {'iter_1.pth', 'iter_2.pth', 'last_checkpoint', 'mine.py'} <= set(os.listdir(run))
    # As after a kill during writing: the newest checkpoint is truncated.
    os.truncate(run / 'iter_2.pth', os.path.getsize(run / 'iter_2.pth') // 2)
    more = ['--resume', '--cfg-options', 'train_cfg.max_iters=3']
    assert train.main([str(config), '--work-dir', str(run), *more]) == 0
    resumed = [
        path.read_text()
        for path in sorted(run.glob('2*/*.log'))
        if 'resumed epoch' in path.read_text()
    ]
    assert len(resumed) == 1 and 'resumed epoch: 0, iter: 1' in resumed[0]
    final = torch.load(run / 'iter_3.pth', weights_only=False)
    assert final['meta']['iter'] == 3
    assert len(final['optimizer']['state']) > 0
