import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.runner import CheckpointLoader

from adasap_det.demo.__main__ import main
from adasap_det.demo.settings import FAST, FULL, load_config
from adasap_det.robustness.results import load_cells


@pytest.fixture(scope='module')
def demo(tmp_path_factory) -> Path:
    """Folder of a fast demo run."""
    folder = tmp_path_factory.mktemp('demo') / 'out'
    assert main(['--fast', '--work-dir', str(folder)]) == 0
    return folder


@pytest.mark.slow
def test_results_match_the_checkpoints(demo):
    results = json.loads((demo / 'results.json').read_text())
    for name in ('dense', 'plainly pruned', 'AdaSAP'):
        state = CheckpointLoader.load_checkpoint(results[name]['checkpoint'])['state_dict']
        weights = {k: v for k, v in state.items() if 'running_' not in k}
        params = sum(v.numel() for k, v in weights.items() if 'num_batches' not in k)
        assert results[name]['params'] == params
        assert 0 <= results[name]['ap50'] <= 1
        assert results[name]['latency_ms'] > 0
    for pruned in (results['plainly pruned'], results['AdaSAP']):
        # At most half, and little less: channels are pruned in multiples of eight.
        assert 0.45 < pruned['params'] / results['dense']['params'] <= 0.5
        assert 0.1 < pruned['macs'] / results['dense']['macs'] < 0.9


@pytest.mark.slow
def test_images_show_the_models_side_by_side(demo):
    results = json.loads((demo / 'results.json').read_text())
    assert len(results['images']) == FAST.images == 2
    for path in results['images']:
        image = cv2.imread(path)
        height, width, _ = image.shape
        assert width == 3 * (height - 28)
        # Below the titles each panel shows the scene and is not blank.
        for part in np.split(image[28:], 3, axis=1):
            assert part.std() > 5


@pytest.mark.slow
def test_log_has_all_three_steps_of_the_method(demo):
    (log,) = (demo / 'adasap').glob('*/*.log')
    text = log.read_text()
    for line in (
        "AdaSAP stage 'adaptive' from iteration 0",
        'Prune step 1/2',
        'Prune step 2/2',
        "AdaSAP stage 'uniform' from iteration 3",
        'Evaluation before pruning',
        'Evaluation after pruning',
    ):
        assert line in text


@pytest.mark.slow
def test_second_run_reuses_the_training_and_gives_the_same_results(demo, capsys):
    before = json.loads((demo / 'results.json').read_text())
    times = {p: p.stat().st_mtime_ns for p in demo.rglob('*.pth')}
    assert main(['--fast', '--work-dir', str(demo)]) == 0
    out = capsys.readouterr().out
    assert out.count('not trained again') == 3
    assert 'Iter(train)' not in out
    assert {p: p.stat().st_mtime_ns for p in demo.rglob('*.pth')} == times
    after = json.loads((demo / 'results.json').read_text())
    assert out.count('5 of 5 cells are already evaluated') == 3
    for name in ('dense', 'plainly pruned', 'AdaSAP'):
        for key in ('ap50', 'p', 'mpc', 'rpc', 'params', 'macs', 'checkpoint'):
            assert after[name][key] == before[name][key]


@pytest.mark.slow
def test_report_covers_all_three_models(demo):
    results = json.loads((demo / 'results.json').read_text())
    page = Path(results['report']).read_text()
    for name in ('dense', 'plainly pruned', 'AdaSAP'):
        assert name in page
        cells = load_cells(demo / 'robustness' / name)
        assert len(cells) == 5 and {cell.images for cell in cells.values()} == {3}
        corrupted = [c.metrics['AP50'] for key, c in cells.items() if key[0]]
        assert results[name]['mpc'] == pytest.approx(sum(corrupted) / 4)
        assert results[name]['p'] == cells[None, 0].metrics['AP50']


@pytest.mark.slow
def test_other_seed_in_the_same_folder_is_an_error(demo, capsys):
    assert main(['--fast', '--work-dir', str(demo), '--seed', '1']) == 1
    assert 'was made with seed=0 instead of 1; give another root' in capsys.readouterr().err


def test_configs_write_below_the_work_dir(tmp_path):
    cfg = load_config('adasap', FULL, work_dir=tmp_path, seed=3)
    assert cfg.work_dir == str(tmp_path / 'adasap')
    assert cfg.train_dataloader.dataset.data_root == f'{tmp_path}/data/'
    assert cfg.randomness == dict(seed=3)
    # The full size trains as in the config files, the fast one a few iterations.
    assert cfg.train_cfg.max_iters > 100
    assert load_config('adasap', FAST, work_dir=tmp_path, seed=3).train_cfg.max_iters == 6
