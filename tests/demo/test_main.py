import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from filelock import FileLock
from mmengine.config import Config

from adasap_det import load_pruned
from adasap_det.demo import __main__ as demo_main
from adasap_det.demo.__main__ import main
from adasap_det.demo.runner import train
from adasap_det.demo.settings import FAST, FULL, load_config
from adasap_det.demo.summary import Results
from adasap_det.demo.twin_progress import ProgressFile
from adasap_det.pruning import count_params


@pytest.fixture(scope='module')
def demo(tmp_path_factory) -> Path:
    """Folder of a fast demo run."""
    folder = tmp_path_factory.mktemp('demo') / 'out'
    assert main(['--fast', '--work-dir', str(folder)]) == 0
    return folder


@pytest.mark.slow
def test_results_are_those_of_the_files_of_all_sizes(demo):
    results = Results.read(demo / 'results.json')
    assert [size.keep_ratio for size in results.sizes] == [1.0, *FAST.keep_ratios]
    cfg = load_config('plain', FAST, work_dir=demo, seed=0)
    whole = results.sizes[0].parameters['plain']
    for size in results.sizes:
        for name in ('plain', 'elastic'):
            model = load_pruned(cfg, demo / name / 'sizes.pth', keep_ratio=size.keep_ratio)
            assert size.parameters[name] == count_params(model)
            assert size.parameters[name] <= size.keep_ratio * whole
            assert size.latency_ms[name] > 0
            assert 0 <= size.ap50[name] <= 100


@pytest.mark.slow
def test_images_show_both_networks_side_by_side(demo):
    images = sorted((demo / 'images').iterdir())
    assert len(images) == FAST.drawn_images == 2
    for path in images:
        image = cv2.imread(str(path))
        height, width, _ = image.shape
        assert width == 2 * (height - 28)
        # Below the titles each panel shows the scene and is not blank.
        for part in np.split(image[28:], 2, axis=1):
            assert part.std() > 5
        assert f'images/{path.name}' in (demo / 'report.html').read_text('utf-8')


@pytest.mark.slow
def test_twins_begin_at_the_same_weights_and_see_as_many_batches(demo):
    plain, elastic = ((demo / f'{name}.log').read_text('utf-8') for name in ('plain', 'elastic'))
    for text in (plain, elastic):
        assert 'dense.pth' in text
        assert f'Saving checkpoint at {FAST.iterations} iterations' in text
    assert "AdaSAP stage 'adaptive' from iteration 0" in elastic
    assert 'AdaSAP stage' not in plain


def _times(folder):
    paths = [path for path in folder.rglob('*') if path.is_file() and path.name != '.lock']
    return {path: path.stat().st_mtime_ns for path in paths}


@pytest.mark.slow
def test_second_run_says_that_it_was_done(demo, capsys):
    before = _times(demo)
    assert main(['--fast', '--work-dir', str(demo)]) == 0
    out = capsys.readouterr().out
    assert 'Done before' in out
    assert str(demo / 'report.html') in out
    assert _times(demo) == before


@pytest.mark.slow
def test_interrupted_demo_goes_on_where_it_was(demo):
    for name in ('results.json', 'elastic/outcomes_0.3.pth', 'plain/outcomes_0.3_fine_tuned.pth'):
        (demo / name).unlink()
    last = f'iter_{FAST.iterations}.pth'
    kept = [
        demo / 'elastic' / last,
        demo / 'plain' / 'fine_tuned' / last,
        demo / 'plain' / 'outcomes_0.3.pth',
    ]
    before = [path.stat().st_mtime_ns for path in kept]
    assert main(['--fast', '--work-dir', str(demo)]) == 0
    assert [path.stat().st_mtime_ns for path in kept] == before
    assert (demo / 'results.json').is_file()


@pytest.mark.slow
def test_other_seed_in_the_same_folder_is_an_error(demo, capsys):
    (demo / 'results.json').rename(demo / 'kept.json')  # as if it had been interrupted
    assert main(['--fast', '--work-dir', str(demo), '--seed', '1']) == 1
    (demo / 'kept.json').rename(demo / 'results.json')
    assert 'seed=0 instead of 1' in capsys.readouterr().err


@pytest.mark.slow
def test_failed_training_is_an_error_with_the_last_line_of_its_log(tmp_path, monkeypatch, capsys):
    dense = tmp_path / 'broken.pth'
    dense.write_bytes(b'no checkpoint')
    monkeypatch.setattr(demo_main, 'SHIPPED_DENSE', dense)
    assert main(['--fast', '--work-dir', str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert 'training ended with status 1' in err
    assert '.log: ' in err


def test_second_demo_in_the_same_folder_is_an_error(tmp_path, capsys):
    with FileLock(tmp_path / '.lock'):
        assert main(['--fast', '--work-dir', str(tmp_path)]) == 1
    assert 'another demo runs in' in capsys.readouterr().err


def test_folder_of_something_else_is_kept(tmp_path):
    cfg = load_config('plain', FAST, work_dir=tmp_path, seed=0)
    mine = tmp_path / 'plain' / 'mine.txt'
    mine.parent.mkdir()
    mine.write_text('mine')
    with pytest.raises(ValueError, match='plain is not of the demo; give another --work-dir'):
        train(cfg, ProgressFile(tmp_path / 'progress', 1), units=1)
    assert mine.read_text() == 'mine'


def test_training_ends_when_the_demo_was_killed():
    code = 'import sys, time; from adasap_det.demo import twin; twin._end_with_parent(); '
    child = subprocess.Popen(
        [sys.executable, '-c', f'{code}print("ready", flush=True); time.sleep(600)'],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    while 'ready' not in child.stdout.readline():
        assert child.poll() is None
    child.stdin.close()  # as when the parent is gone
    assert child.wait(timeout=120) == 1
    child.stdout.close()


def test_configs_write_below_the_work_dir(tmp_path):
    cfg = load_config('elastic', FULL, work_dir=tmp_path, seed=3, load_from=tmp_path / 'a.pth')
    assert isinstance(cfg, Config)
    assert cfg.work_dir == str(tmp_path / 'elastic')
    assert cfg.train_dataloader.dataset.data_root == f'{tmp_path}/data/'
    assert cfg.randomness.seed == 3
    assert cfg.load_from == str(tmp_path / 'a.pth')
    assert cfg.train_cfg.max_iters == FULL.iterations
    assert cfg.param_scheduler[1].end == FULL.iterations
    short = load_config('elastic', FAST, work_dir=tmp_path, seed=3)
    assert short.train_cfg.max_iters == FAST.iterations
    assert short.param_scheduler[0].end < short.param_scheduler[1].end == FAST.iterations


def test_twins_differ_in_the_step_alone():
    plain, elastic = (
        load_config(name, FULL, work_dir=Path('out'), seed=0) for name in ('plain', 'elastic')
    )
    elastic.optim_wrapper.type = plain.optim_wrapper.type
    del elastic.default_hooks.pruning
    elastic.work_dir = plain.work_dir
    assert elastic.to_dict() == plain.to_dict()
