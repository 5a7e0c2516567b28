"""adasap-measure-rise: predicted and measured rises on the embedded data set."""

import re

import pytest

from adasap_det.cli import measure_rise


def rows(capsys, stage):
    """Radius, predicted and measured rise, and loss, of the table's rows of a stage."""
    lines = [line for line in capsys.readouterr().out.splitlines() if stage in line]
    return [[float(x) for x in re.findall(r'-?\d+\.?\d*(?:e-\d+)?', line)] for line in lines]


def test_small_radii_raise_the_loss_as_predicted(config, untrained, tmp_path, capsys):
    options = ['--radii', '1e-5', '4e-5', '--form', 'sam', '--batches', '1']
    options += ['--input-size', '96', '96']
    arguments = [str(config), str(untrained), *options, '--work-dir', str(tmp_path)]
    assert measure_rise.main(arguments) == 0
    (small, large) = rows(capsys, 'uniform')
    assert [small[0], large[0]] == [1e-5, 4e-5]
    assert small[2] == pytest.approx(small[1], rel=0.1)
    assert large[1] == pytest.approx(4 * small[1], rel=0.01)
    assert small[3] == large[3] > 0


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['--batches', '0'], ['--batches', 'at least 1']),
        (['--seed', '-1'], ['--seed', '-1']),
        (['--radii', '0.1', '0'], ['--radii', 'positive', '0.0']),
        ([], ["checkpoint 'none.pth' does not exist"]),
    ],
)
def test_usage_errors_are_one_line(config, capsys, options, words):
    assert measure_rise.main([str(config), 'none.pth', *options]) == 2
    err = capsys.readouterr().err
    assert err.count('\n') == 1
    for word in words:
        assert word in err
