"""adasap-test-robustness: evaluation, resuming, reports and usage errors."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from adasap_det.cli import make_voc_c, test_robustness
from adasap_det.pruning import find_channel_groups, prune_channels
from adasap_det.pruning.graph.tracing import example_image
from adasap_det.robustness.bootstrap import paired_interval
from adasap_det.robustness.evaluation import sweep
from adasap_det.robustness.per_image import load_outcomes
from adasap_det.robustness.results import load_cells, load_results
from adasap_det.utils.device import cpu_name

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(config):
    """Config with enough detections per image that some are correct by chance."""
    config.write_text(config.read_text().replace('max_per_img=20', 'max_per_img=1000'))
    return config


@pytest.fixture(scope='session')
def checkpoint(shapes, tmp_path_factory):
    """Checkpoint of an untrained detector."""
    init_default_scope('mmdet')
    cfg = Config.fromfile(ROOT / 'configs/demo/shapes_dense.py')
    torch.manual_seed(1)
    model = MODELS.build(cfg.model)
    path = tmp_path_factory.mktemp('checkpoint') / 'iter_2.pth'
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, path)
    return str(path)


@pytest.fixture(scope='session')
def benchmark(shapes, tmp_path_factory):
    out = tmp_path_factory.mktemp('benchmark') / 'c'
    options = ['--year', '2007', '--split', 'test', '--workers', '0', '--format', 'png']
    chosen = ['--corruptions', 'fog', 'contrast', '--severities', '1', '3']
    assert make_voc_c.main(['--source', str(shapes), *options, *chosen, '--out', str(out)]) == 0
    return out


def run(config, checkpoint, out, *options):
    return test_robustness.main(
        [str(config), checkpoint, '--out', str(out), '--images', '0', *options]
    )


GRID = ('--corruptions', 'fog', 'contrast', '--severities', '1', '3')


def test_built_benchmark_and_on_the_fly_corruption_agree(
    config, checkpoint, benchmark, tmp_path, capsys
):
    """PNG is lossless, so both evaluate the same images."""
    assert run(config, checkpoint, tmp_path / 'fly', *GRID) == 0
    assert run(config, checkpoint, tmp_path / 'built', *GRID, '--benchmark', str(benchmark)) == 0
    fly, built = load_results(tmp_path / 'fly'), load_results(tmp_path / 'built')
    assert set(fly.cells) == {(None, 0), *((c, s) for c in ('fog', 'contrast') for s in (1, 3))}
    for key, cell in fly.cells.items():
        assert built.cells[key].metrics == cell.metrics
        assert built.cells[key].per_class == cell.per_class
        assert cell.images == 4
    different = {json.dumps(cell.metrics) for cell in fly.cells.values()}
    assert len(different) > 1, 'corruption changed nothing'
    assert 'mean of 4 of 75 cells' in capsys.readouterr().out


def test_outcomes_of_the_images_are_written_if_asked(config, checkpoint, tmp_path, capsys):
    run(config, checkpoint, tmp_path, *GRID)
    assert not (tmp_path / 'per_image').exists()
    assert run(config, checkpoint, tmp_path, *GRID, '--per-image') == 0
    assert 'already evaluated' not in capsys.readouterr().out
    cells, outcomes = load_cells(tmp_path), load_outcomes(tmp_path)
    assert set(outcomes) == set(cells)
    for key, cell in cells.items():
        assert outcomes[key].metric(np.ones((1, 4)))[0] == pytest.approx(cell.metrics['AP50'])
    assert paired_interval([outcomes], [outcomes], draws=2)['rPC'].estimate == 0
    (tmp_path / 'per_image/fog-3.npz').unlink()
    assert run(config, checkpoint, tmp_path, *GRID, '--per-image') == 0
    assert '4 of 5 cells are already evaluated' in capsys.readouterr().out
    assert set(load_outcomes(tmp_path)) == set(cells)


def test_model_description(config, checkpoint, tmp_path):
    assert run(config, checkpoint, tmp_path, '--corruptions', 'fog', '--severities', '1') == 0
    model = load_results(tmp_path).model
    assert model.params == 991_140
    assert model.dataset.images == 4
    assert model.dataset.classes[0] == 'circle'
    assert all(layer.channels == layer.dense_channels for layer in model.channels)
    assert model.input_size == (96, 96)
    assert model.macs > 10_000_000
    assert model.latency_ms > 0
    # A different CPU model with the same number of threads is a different device.
    assert model.device == f'{cpu_name()}, {torch.get_num_threads()} threads'


def test_the_model_is_described_before_the_cells_and_recorded_after_them(
    config, checkpoint, tmp_path, monkeypatch
):
    """Errors surface before the long sweep, and model.json marks a finished evaluation."""
    steps = []
    for step in ('describe_model', 'save_cell', 'save_model'):
        real = getattr(sweep, step)

        def noted(*args, step=step, real=real, **options):
            steps.append(step)
            return real(*args, **options)

        monkeypatch.setattr(sweep, step, noted)
    assert run(config, checkpoint, tmp_path, '--corruptions', 'fog', '--severities', '1') == 0
    assert steps == ['describe_model', 'save_cell', 'save_cell', 'save_model']


def test_interrupted_sweep_resumes_and_outdated_cells_are_evaluated_again(
    config, checkpoint, tmp_path, capsys
):
    options = ('--corruptions', 'fog', '--severities', '1', '3')
    assert run(config, checkpoint, tmp_path, *options) == 0
    clean = tmp_path / 'cells' / 'clean.json'
    before = clean.stat().st_mtime_ns
    (tmp_path / 'cells' / 'fog-3.json').write_text('{"schema": 1, ')
    capsys.readouterr()
    assert run(config, checkpoint, tmp_path, *options) == 0
    out = capsys.readouterr().out
    assert 'evaluated again: cannot read' in out
    assert '2 of 3 cells are already evaluated' in out and '[1/1] fog 3' in out
    assert clean.stat().st_mtime_ns == before
    # Another seed is another benchmark, so all cells are outdated, including the clean one.
    assert run(config, checkpoint, tmp_path, *options, '--seed', '1') == 0
    assert 'evaluated again' in capsys.readouterr().out
    assert load_cells(tmp_path)['fog', 1].source == 'on the fly, seed 1'


def test_a_smaller_run_on_other_images_does_not_hide_earlier_results(
    config, checkpoint, benchmark, tmp_path, capsys
):
    assert run(config, checkpoint, tmp_path, *GRID, '--benchmark', str(benchmark)) == 0
    before = load_results(tmp_path).cells
    part = ('--corruptions', 'fog', '--severities', '3')
    assert run(config, checkpoint, tmp_path, *part) == 2
    err = capsys.readouterr().err
    assert f'{tmp_path} holds 3 other cells, such as contrast 1, of the same checkpoint' in err
    assert load_results(tmp_path).cells == before
    assert run(config, checkpoint, tmp_path, *part, '--benchmark', str(benchmark)) == 0
    assert load_results(tmp_path).cells == before


def test_cells_of_another_version_are_evaluated_again(
    config, checkpoint, tmp_path, capsys, monkeypatch
):
    options = ('--corruptions', 'fog', '--severities', '1')
    assert run(config, checkpoint, tmp_path, *options) == 0
    monkeypatch.setattr('mmengine.__version__', '0.0.1')
    assert run(config, checkpoint, tmp_path, *options) == 0
    assert 'evaluated again: 2 cells' in capsys.readouterr().out


def test_report_excludes_cells_of_an_earlier_checkpoint(config, checkpoint, tmp_path, capsys):
    best, out = tmp_path / 'best.pth', tmp_path / 'out'
    shutil.copy(checkpoint, best)
    options = ('--severities', '1', '--corruptions')
    assert run(config, str(best), out, *options, 'fog', 'contrast') == 0
    state = torch.load(checkpoint, weights_only=True)
    torch.save({**state, 'meta': {'retrained': True}}, best)
    assert run(config, str(best), out, *options, 'fog', '--report') == 0
    assert set(load_results(out).cells) == {(None, 0), ('fog', 1)}
    assert json.loads((out / 'report.json').read_text())['cells'] == [['fog', 1]]
    # Cells of the same checkpoint are merged.
    assert run(config, str(best), out, *options, 'contrast') == 0
    assert set(load_results(out).cells) == {(None, 0), ('fog', 1), ('contrast', 1)}


def test_example_images_of_runs_with_the_same_folder_are_merged(config, checkpoint, tmp_path):
    """For example the tasks of an array job, each with its own corruptions."""
    for corruption in ('fog', 'contrast', 'fog'):
        options = ('--corruptions', corruption, '--severities', '1', '--images', '1')
        assert run(config, checkpoint, tmp_path, *options) == 0
    found = load_results(tmp_path).images
    assert sorted(one.file for one in found) == ['clean.jpg', 'contrast-1.jpg', 'fog-1.jpg']


def test_cells_are_evaluated_again_when_annotations_have_changed(
    config, checkpoint, shapes, tmp_path, capsys
):
    data = tmp_path / 'data'
    shutil.copytree(shapes, data)
    config.write_text(config.read_text().replace(str(shapes), str(data)))
    options = ('--corruptions', 'fog', '--severities', '1')
    assert run(config, checkpoint, tmp_path / 'out', *options) == 0
    annotation = sorted((data / 'VOC2007/Annotations').glob('test_*.xml'))[0]
    annotation.write_text(annotation.read_text().replace('<xmin>', '<xmin>1'))
    assert run(config, checkpoint, tmp_path / 'out', *options) == 0
    assert (
        'evaluated again: 2 cells, since checkpoint, config, test data' in capsys.readouterr().out
    )


def test_shifted_set_is_evaluated_again_when_its_eval_mode_changes(
    config, checkpoint, tmp_path, capsys
):
    """``eval_mode`` of the shifted set comes from its own config, not from the model's."""
    other = tmp_path / 'other.py'
    options = ('--corruptions', 'fog', '--severities', '1', '--shifted', f'other={other}')
    found = []
    for eval_mode in ('area', '11points', '11points'):
        other.write_text(
            f"_base_ = {str(config)!r}\ntest_evaluator = dict(eval_mode='{eval_mode}')\n"
        )
        assert run(config, checkpoint, tmp_path / 'out', *options) == 0
        found.append(load_results(tmp_path / 'out').shifted[0])
        assert ('other is already evaluated' in capsys.readouterr().out) == (len(found) == 3)
    area, points, again = found
    assert area.metrics['AP50'] != points.metrics['AP50'] and points == again


def test_pruned_checkpoint_and_report(config, checkpoint, tmp_path, capsys):
    init_default_scope('mmdet')
    model = MODELS.build(Config.fromfile(str(config)).model)
    groups = find_channel_groups(model, example_image((96, 96))).groups
    group = next(group for group in groups if group.size > 8)
    prune_channels(model, groups, {group.name: torch.arange(group.size - 8)})
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, tmp_path / 'pruned.pth')
    options = ('--corruptions', 'fog', '--severities', '1')
    assert run(config, checkpoint, tmp_path / 'dense', *options, '--name', 'dense') == 0
    assert (
        test_robustness.main(
            [
                str(config), str(tmp_path / 'pruned.pth'), '--out', str(tmp_path / 'pruned'),
                *options, '--name', 'pruned', '--report', str(tmp_path / 'dense'),
            ]
        )
        == 0
    )  # fmt: skip
    found = load_results(tmp_path / 'pruned')
    assert found.model.params < 991_140
    pruned = [c for c in found.model.channels if c.channels < c.dense_channels]
    assert pruned and all(c.dense_channels - c.channels == 8 for c in pruned)
    assert {(p.corruption, p.severity) for p in found.images} == {(None, 0), ('fog', 1)}
    assert all((tmp_path / 'pruned/images' / p.file).stat().st_size for p in found.images)
    page = (tmp_path / 'pruned' / 'report.html').read_text()
    assert 'dense' in page and 'pruned' in page


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--corruptions', 'haze'], "unknown corruption 'haze'"),
        (['--severities', '6'], 'severity 6 is not one of'),
        (['--metric', 'mAP'], "--metric 'mAP' is not one of AP50, AP"),
        (['--benchmark', 'nowhere'], 'nowhere'),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(
    config, checkpoint, tmp_path, capsys, options, message
):
    assert run(config, checkpoint, tmp_path / 'out', *options) == 2
    err = capsys.readouterr().err
    assert message in err and err.count('\n') == 1


def test_checkpoint_url_is_rejected_before_loading(config, tmp_path, capsys):
    assert run(config, 'https://example.org/a.pth', tmp_path / 'out') == 2
    assert "'https://example.org/a.pth' is a URL" in capsys.readouterr().err


def test_missing_cells_of_a_benchmark_are_named(config, checkpoint, benchmark, tmp_path, capsys):
    options = ('--corruptions', 'fog', 'snow', '--benchmark', str(benchmark))
    assert run(config, checkpoint, tmp_path, *options) == 2
    err = capsys.readouterr().err
    assert 'does not contain fog 2, fog 4, fog 5, snow 1, snow 2 and 3 more' in err


def test_benchmark_of_another_split_is_rejected(config, checkpoint, benchmark, tmp_path, capsys):
    change = 'test_dataloader.dataset.ann_file=VOC2007/ImageSets/Main/val.txt'
    options = (*GRID, '--benchmark', str(benchmark), '--cfg-options', change)
    assert run(config, checkpoint, tmp_path, *options) == 2
    assert "has no 'VOC2007/ImageSets/Main/val.txt'" in capsys.readouterr().err


def test_other_clean_images_than_those_of_the_benchmark_are_rejected(
    config, checkpoint, benchmark, shapes, tmp_path, capsys
):
    shutil.copytree(shapes, tmp_path / 'data')
    config.write_text(config.read_text().replace(str(shapes), str(tmp_path / 'data')))
    first, second = sorted((tmp_path / 'data/VOC2007/JPEGImages').glob('test_*'))[:2]
    shutil.copyfile(first, second)
    assert run(config, checkpoint, tmp_path / 'out', *GRID, '--benchmark', str(benchmark)) == 2
    assert f'{second} is not the file that the benchmark' in capsys.readouterr().err


@pytest.mark.parametrize('change', [Path.unlink, lambda path: path.write_bytes(b'damaged')])
@pytest.mark.parametrize('workers', [0, 1])
def test_an_image_that_cannot_be_read_is_named(
    config, checkpoint, shapes, tmp_path, capsys, change, workers
):
    shutil.copytree(shapes, tmp_path / 'data')
    config.write_text(config.read_text().replace(str(shapes), str(tmp_path / 'data')))
    image = sorted((tmp_path / 'data/VOC2007/JPEGImages').glob('test_*'))[1]
    change(image)
    options = ('--cfg-options', f'test_dataloader.num_workers={workers}')
    assert run(config, checkpoint, tmp_path / 'out', *GRID, *options) == 2
    err = capsys.readouterr().err
    error = err[err.index('adasap-test-robustness: error') :]
    assert 'an image of clean cannot be read: ' in error and str(image) in error
    assert 'restore it' in error and error.count('\n') == 1


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Match torchrun's single thread, since more threads change the order of summation."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_two_processes_give_the_results_of_one(config, checkpoint, tmp_path, one_thread):
    options = ['--corruptions', 'fog', '--severities', '1', '--images', '0']
    assert (
        test_robustness.main([str(config), checkpoint, '--out', str(tmp_path / 'one'), *options])
        == 0
    )
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    script = [str(ROOT / 'tools/test_robustness.py'), str(config), checkpoint]
    done = subprocess.run(
        [*command, *script, '--out', str(tmp_path / 'two'), *options, '--launcher=pytorch'],
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = load_cells(tmp_path / 'one'), load_cells(tmp_path / 'two')
    assert {k: c.metrics for k, c in one.items()} == {k: c.metrics for k, c in two.items()}
