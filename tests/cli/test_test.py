"""adasap-test: evaluate dense and pruned checkpoints with any config."""

import pickle
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from adasap_det.cli import test, test_command, train
from adasap_det.cli.common import UsageError


@pytest.fixture
def empty_checkpoint(tmp_path) -> str:
    torch.save({'state_dict': {}}, tmp_path / 'empty.pth')
    return str(tmp_path / 'empty.pth')


def test_missing_checkpoint_is_one_line_and_exit_2(config, capsys):
    assert test.main([str(config), 'none.pth']) == 2
    assert capsys.readouterr().err == (
        "adasap-test: error: checkpoint 'none.pth' does not exist; give the path of a *.pth file\n"
    )


def test_broken_checkpoint_is_one_line_and_exit_2(config, capsys, tmp_path):
    (tmp_path / 'half.pth').write_bytes(b'PK\x03\x04 and no more')
    assert test.main([str(config), str(tmp_path / 'half.pth')]) == 2
    err = capsys.readouterr().err
    assert "half.pth' cannot be read" in err and err.count('\n') == 1


def test_error_names_missing_test_data(config, empty_checkpoint, capsys):
    options = ['--cfg-options', 'test_dataloader.dataset.data_root=nowhere']
    assert test.main([str(config), empty_checkpoint, *options]) == 2
    assert "test data (XMLDataset): data_root 'nowhere'" in capsys.readouterr().err


def test_predictions_are_written_to_pickle_files_only(config, capsys):
    assert test.main([str(config), 'x.pth', '--out', 'result.json']) == 2
    assert "--out 'result.json': the file must end in .pkl" in capsys.readouterr().err


def test_drawing_needs_the_visualization_hook():
    cfg = Config(dict(default_hooks=dict(visualization=dict(type='DetVisualizationHook'))))
    test_command.draw_predictions(cfg, show=True, show_dir='painted', wait_time=3)
    assert cfg.default_hooks.visualization == dict(
        type='DetVisualizationHook', draw=True, show=True, wait_time=3, test_out_dir='painted'
    )
    # mmpretrain's hook silently accepts unknown options.
    cfg = Config(dict(default_hooks=dict(visualization=dict(type='VisualizationHook'))))
    test_command.draw_predictions(cfg, show=True, show_dir='painted', wait_time=3)
    assert cfg.default_hooks.visualization == dict(
        type='VisualizationHook', enable=True, interval=1, show=True, wait_time=3, out_dir='painted'
    )
    with pytest.raises(UsageError, match='need the visualization hook'):
        test_command.draw_predictions(Config({}), show=True, show_dir=None, wait_time=2)


def test_tta_adds_its_hook_and_flips():
    steps = [dict(type='LoadImageFromFile'), dict(type='PackDetInputs')]
    inner = dict(type='XMLDataset', pipeline=steps)
    cfg = Config(
        dict(
            model=dict(type='SSD'),
            test_dataloader=dict(dataset=dict(type='RepeatDataset', times=1, dataset=inner)),
        )
    )
    test_command.use_tta(cfg)
    assert cfg.model == dict(type='SSD')
    assert [h.type for h in cfg.custom_hooks] == ['PrepareTTAHook']
    pipeline = cfg.test_dataloader.dataset.dataset.pipeline
    assert [step.type for step in pipeline] == ['LoadImageFromFile', 'TestTimeAug']
    assert [t.prob for t in pipeline[1].transforms[0]] == [1.0, 0.0]


def predictions(path: Path) -> list[torch.Tensor]:
    """Boxes with scores and labels of each image."""
    results = [result['pred_instances'] for result in pickle.loads(path.read_bytes())]
    return [
        torch.cat([r['bboxes'], r['scores'][:, None], r['labels'][:, None]], 1) for r in results
    ]


def log_of(work_dir: Path) -> str:
    """Newest log of a work dir."""
    return sorted(work_dir.glob('2*/*.log'))[-1].read_text()


MISMATCH = 'do not match exactly'  # MMEngine's warning about missing weights


@pytest.mark.slow
def test_pruned_checkpoint_needs_no_pruning_hook_in_the_config(config, tmp_path):
    """Trained with pruning, then tested with the dense config and with the pruning config."""
    pruning = tmp_path / 'pruning.py'
    pruning.write_text(
        "_base_ = 'mine.py'\n"
        "default_hooks = dict(pruning=dict(type='PruningHook',\n"
        "    budget=dict(type='ParamsBudget', keep_ratio=0.5),\n"
        '    by_epoch=False, adaptive_begin=0, prune_begin=1, prune_steps=1, prune_interval=1,\n'
        '    input_size=(96, 96)))\n'
    )
    assert train.main([str(pruning), '--work-dir', str(tmp_path / 'run')]) == 0
    checkpoint = str(tmp_path / 'run/iter_2.pth')
    found = {}
    for name in ('mine', 'pruning'):
        out = tmp_path / f'{name}.pkl'
        work_dir = ['--work-dir', str(tmp_path / name)]
        assert (
            test.main([str(tmp_path / f'{name}.py'), checkpoint, '--out', str(out), *work_dir]) == 0
        )
        found[name] = predictions(out)
        log = log_of(tmp_path / name)
        assert 'Model shrunk to the pruned structure' in log and MISMATCH not in log
    assert len(found['mine']) == 4 and all(len(boxes) == 20 for boxes in found['mine'])
    for ours, theirs in zip(found['mine'], found['pruning'], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.slow
def test_tta_and_drawing_with_a_dense_checkpoint(config, tmp_path):
    assert train.main([str(config), '--work-dir', str(tmp_path / 'run')]) == 0
    arguments = [str(config), str(tmp_path / 'run/iter_2.pth'), '--work-dir', str(tmp_path / 'run')]
    plain, flipped = tmp_path / 'plain.pkl', tmp_path / 'flipped.pkl'
    assert test.main([*arguments, '--out', str(plain), '--show-dir', 'painted']) == 0
    assert len(list((tmp_path / 'run').glob('2*/painted/*.jpg'))) == 4
    assert test.main([*arguments, '--out', str(flipped), '--tta']) == 0
    assert MISMATCH not in log_of(tmp_path / 'run')
    one, other = predictions(plain)[0], predictions(flipped)[0]
    assert one.isfinite().all() and other.isfinite().all()
    # Flips add boxes and remove none.
    assert len(other) >= len(one)
    assert other[:, 4].max() >= one[:, 4].max() - 1e-6
