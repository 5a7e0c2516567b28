"""mCE by hand and against published numbers."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from adasap_det.robustness.corruption_error import (
    ALEXNET_CLEAN_ERROR,
    ALEXNET_ERROR,
    corruption_error,
    corruption_error_of,
    imagenet_corruption_error,
    why_no_corruption_error,
)
from adasap_det.robustness.corruptions import BENCHMARK, SEVERITIES
from adasap_det.robustness.metrics import FULL_GRID, summarise
from adasap_det.robustness.results import CLEAN, Cell, load_model

from ..helpers.result_folders import make_results


def test_mce_of_alexnet_is_one():
    found = corruption_error(ALEXNET_ERROR, clean_error=ALEXNET_CLEAN_ERROR)
    assert found.mce == pytest.approx(1)
    assert found.relative_mce == pytest.approx(1)
    assert tuple(ALEXNET_ERROR) == tuple(BENCHMARK)


# Top-1 accuracy and CE in per cent of torchvision's ResNet-50 (76.13 clean) as measured on
# ImageNet-C and published by others.
RESNET50 = {
    'gaussian_noise': (29.29, 79.77),
    'impulse_noise': (23.81, 82.58),
    'defocus_blur': (38.75, 74.71),
    'glass_blur': (26.79, 88.61),
    'frost': (38.14, 74.84),
    'fog': (45.83, 66.11),
    'brightness': (68.02, 56.64),
    'contrast': (39.06, 71.43),
    'elastic_transform': (45.25, 84.75),
}


def test_published_corruption_errors_of_resnet50():
    error = {name: 1 - RESNET50.get(name, (0, 0))[0] / 100 for name in BENCHMARK}
    found = corruption_error(error)
    for name, (_, ce) in RESNET50.items():
        assert 100 * found.ce[name] == pytest.approx(ce, abs=0.02)
    assert found.relative_mce is None


def test_relative_mce_by_hand():
    error = {'fog': 0.5, 'snow': 0.3}
    baseline = {'fog': 0.8, 'snow': 0.9}
    found = corruption_error(error, clean_error=0.1, baseline=baseline, baseline_clean_error=0.4)
    assert found.relative_ce == {'fog': pytest.approx(1.0), 'snow': pytest.approx(0.4)}
    assert found.relative_mce == pytest.approx(0.7)
    assert found.mce == pytest.approx((0.5 / 0.8 + 0.3 / 0.9) / 2)


# Top-1 accuracy in each of the 75 cells of ImageNet-C, as published: of torchvision's AlexNet on
# all images (github.com/hendrycks/robustness, issue 10), of three ResNet-50 on 5,000 of them
# (RobustBench, model_info/imagenet/corruptions/unaggregated_results_2d.csv).
CELLS = Path(__file__).with_name('imagenet_c_cells.csv')


def published(network):
    """The sweep of a published network."""
    with open(CELLS, newline='') as file:
        return {
            (row['corruption'], severity): Cell(
                row['corruption'], severity, 'x', 5000, {'top1': float(row[str(severity)])}, {}
            )
            for row in csv.DictReader(file)
            if row['network'] == network
            for severity in SEVERITIES
        }


def test_alexnet_errors_match_its_published_cells():
    cells = published('alexnet')
    assert len(cells) == 75
    for name, error in ALEXNET_ERROR.items():
        mean = sum(1 - cells[name, s].metrics['top1'] for s in SEVERITIES) / 5
        assert mean == pytest.approx(error, abs=1e-6)


@pytest.mark.parametrize(
    ('network', 'clean', 'accuracy', 'mce'),
    [
        # The mCE on all images, in the leaderboard of github.com/hendrycks/robustness.
        ('resnet50', 0.7672, 39.2304, pytest.approx(76.7, abs=0.1)),
        ('augmix', 0.7734, 48.3069, pytest.approx(65.3, abs=0.1)),
        # RobustBench's own, from the same cells.
        ('noisymix', 0.7714, 52.2549, pytest.approx(60.70, abs=0.01)),
    ],
)
def test_mce_of_published_networks_from_their_75_cells(network, clean, accuracy, mce):
    cells = published(network)
    assert len(cells) == 75
    mean = sum(cell.metrics['top1'] for cell in cells.values()) / 75
    assert 100 * mean == pytest.approx(accuracy, abs=1e-3)
    cells[CLEAN] = Cell(*CLEAN, 'x', 5000, {'top1': clean}, {})
    assert 100 * corruption_error_of(cells).mce == mce
    # R_C of the paper: the ratio of corrupted to clean accuracy.
    found = summarise(cells, metric='top1', grid=FULL_GRID)
    assert 100 * found.mpc == pytest.approx(accuracy, abs=1e-3)
    assert found.rpc == pytest.approx(accuracy / 100 / clean, abs=1e-5)


def test_mce_from_the_cells_of_a_sweep():
    def cell(key, value):
        return Cell(*key, 'x', 10, {'top1': value}, {})

    cells = {CLEAN: cell(CLEAN, 0.9)}
    for name in BENCHMARK:
        for severity in SEVERITIES:
            cells[name, severity] = cell((name, severity), 1 - severity * 0.1)
    found = corruption_error_of(cells)
    assert found.ce['fog'] == pytest.approx(0.3 / ALEXNET_ERROR['fog'])
    assert found.relative_ce['fog'] == pytest.approx(
        0.2 / (ALEXNET_ERROR['fog'] - ALEXNET_CLEAN_ERROR)
    )
    del cells['fog', 3]
    with pytest.raises(ValueError, match='fog 3'):
        corruption_error_of(cells)


def test_mce_is_given_only_for_imagenet_c(tmp_path):
    cells = {key: Cell(*key, 'x', 10, {'top1': 0.5}, {}) for key in (CLEAN, *FULL_GRID)}
    classes = tuple(map(str, range(1000)))
    model = load_model(make_results(tmp_path / 'x', 'x', cells=(), classes=classes))
    published = replace(model, imagenet_c=True)
    assert imagenet_corruption_error(cells, published) == corruption_error_of(cells)
    assert why_no_corruption_error(published) is None
    other = replace(model, imagenet_c=False)
    assert imagenet_corruption_error(cells, other) is None
    assert 'published ImageNet-C, or build it with' in why_no_corruption_error(other)
    ten = replace(published, dataset=replace(model.dataset, classes=classes[:10]))
    assert imagenet_corruption_error(cells, ten) is None
    assert why_no_corruption_error(ten) is None


def test_results_that_do_not_record_imagenet_c_are_to_be_evaluated_again(tmp_path):
    folder = make_results(tmp_path / 'x', 'x', cells=(), classes=tuple(map(str, range(1000))))
    file = folder / 'model.json'
    data = json.loads(file.read_text())
    data.pop('imagenet_c', None)  # as before this key
    file.write_text(json.dumps(data))
    reason = why_no_corruption_error(load_model(folder))
    assert 'evaluate again' in reason and 'AlexNet' not in reason


def test_missing_corruption_and_error_out_of_range_are_rejected():
    with pytest.raises(ValueError, match="'gaussian_noise' is missing"):
        corruption_error({'fog': 0.5})
    with pytest.raises(ValueError, match='error of fog is 50'):
        corruption_error({**ALEXNET_ERROR, 'fog': 50})
