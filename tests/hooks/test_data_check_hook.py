from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from adasap_det.datasets import make_shapes_voc
from adasap_det.hooks.data_check_hook import DataCheckHook

CONFIG = Path(__file__).parents[2] / 'configs' / 'demo' / 'shapes_dense.py'


@pytest.fixture
def root(tmp_path) -> Path:
    make_shapes_voc(tmp_path / 'data', num_train=4, num_val=2, num_test=2, image_size=64)
    return tmp_path / 'data'


def runner(root: Path, name: str, **hook: object) -> Runner:
    """A runner that does not train: what matters happens before."""
    cfg = Config.fromfile(CONFIG)
    cfg.work_dir = str(root.parent / 'work')
    cfg.experiment_name = name
    cfg.default_hooks.data_check = dict(type='DataCheckHook', **hook)
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=0)
    for stage in ('train', 'val', 'test'):
        cfg[f'{stage}_dataloader'].dataset.data_root = str(root)
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=inner)
    return Runner.from_cfg(cfg)


def run_before(runner: Runner) -> None:
    """What ``Runner.train`` does first: build the loops and call ``before_run``."""
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner._val_loop = runner.build_val_loop(runner._val_loop)
    runner.call_hook('before_run')


def logged(runner: Runner, text: str) -> list[str]:
    """Lines of the log file that contain ``text``, without the time stamp."""
    (file,) = Path(runner.log_dir).glob('*.log')
    return [x.split(' - ')[-1] for x in file.read_text().splitlines() if text in x]


def cut_short(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def test_valid_data_passes_and_is_reported_once(root):
    r = runner(root, 'whole')
    run_before(r)
    r.call_hook('before_run')
    assert [line.split(',')[0] for line in logged(r, 'data checked')] == [
        'train data checked: 4 images',
        'val data checked: 2 images',
    ]


@pytest.mark.parametrize('split', ['train', 'val'])
def test_truncated_image_ends_the_run_with_its_name(root, split):
    cut_short(root / f'VOC2007/JPEGImages/{split}_000001.jpg')
    r = runner(root, f'truncated_{split}')
    with pytest.raises(ValueError, match=rf'{split}_000001\.jpg: .*truncated'):
        run_before(r)


def test_missing_image_ends_training_itself(root):
    (root / 'VOC2007/JPEGImages/train_000002.jpg').unlink()
    with pytest.raises(ValueError, match=r'train_000002\.jpg: the image does not exist'):
        runner(root, 'missing').train()


def test_broken_annotation_ends_the_run_with_its_name(root):
    # MMEngine parses annotations before any hook's before_run.
    path = root / 'VOC2007/Annotations/train_000000.xml'
    path.write_text(path.read_text()[:100])
    with pytest.raises(ValueError, match=r'train_000000\.xml cannot be read.*Restore'):
        runner(root, 'annotation').train()


def test_only_the_loop_that_runs_is_checked(root):
    cut_short(root / 'VOC2007/JPEGImages/train_000001.jpg')
    r = runner(root, 'test_only')
    r._test_loop = r.build_test_loop(r._test_loop)
    r.call_hook('before_run')
    cut_short(root / 'VOC2007/JPEGImages/test_000001.jpg')
    other = runner(root, 'test_only_broken')
    other._test_loop = other.build_test_loop(other._test_loop)
    with pytest.raises(ValueError, match=r'test_000001\.jpg'):
        other.call_hook('before_run')


def test_data_check_can_be_skipped(root):
    cut_short(root / 'VOC2007/JPEGImages/train_000001.jpg')
    run_before(runner(root, 'skipped', enabled=False))
    run_before(runner(root, 'not_decoded', decode=False))


def test_only_rank_0_checks_data(root, monkeypatch):
    cut_short(root / 'VOC2007/JPEGImages/train_000001.jpg')
    monkeypatch.setattr('adasap_det.hooks.data_check_hook.is_main_process', lambda: False)
    run_before(runner(root, 'second'))


def test_unknown_classes_are_a_warning(root):
    r = runner(root, 'unknown')
    for path in (root / 'VOC2007/Annotations').glob('val_*.xml'):
        path.write_text(path.read_text().replace('<name>', '<name>big '))
    run_before(r)
    (line,) = logged(r, 'skipped')
    assert line.startswith('val data: boxes of classes that are not in metainfo are skipped: big ')


def test_data_check_runs_before_other_hooks():
    assert DataCheckHook().priority == 'VERY_HIGH'
