import re

from adasap_det.pruning.sensitivity import Sensitivity
from adasap_det.pruning.sensitivity_plot import plot_sensitivity


def test_every_group_has_its_row(tmp_path):
    rows = [
        Sensitivity('stem', 4, 8, 1.5),
        Sensitivity('stem', 2, 8, 2.5),
        Sensitivity('neck', 4, 8, 1.1),
    ]
    path = tmp_path / 'plot.svg'
    plot_sensitivity(rows, path, whole=1.0)
    text = path.read_text()
    labels = re.findall(r'<!-- (.*?) -->', text)
    assert labels.index('stem') < labels.index('neck')
    assert 'loss with this group cut alone' in labels
    assert not list(tmp_path.glob('.*'))
