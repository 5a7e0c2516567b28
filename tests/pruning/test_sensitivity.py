import re

import torch

from adasap_det.pruning import MagnitudeImportance, count_params, find_channel_groups
from adasap_det.pruning.graph.tracing import example_image
from adasap_det.pruning.sensitivity import Sensitivity, plot_sensitivity, sensitivity

from ..helpers.toy import ToyDetector, randomize

SIZE = (6, 6)


def test_one_group_at_a_time_and_the_least_important_first():
    model = randomize(ToyDetector())
    groups = find_channel_groups(model, example_image(SIZE)).groups
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    seen = []

    def measure(narrow):
        seen.append(narrow)
        return float(count_params(narrow))

    rows = list(sensitivity(model, groups, MagnitudeImportance(), measure, ratios=(0.5,)))
    assert [row.group for row in rows] == [g.name for g in groups]
    assert all(row.channels == row.size / 2 for row in rows)
    inner = next(row for row in rows if row.group == 'inner')
    # three of six filters of 8 inputs with bias and norm, and 'back' reads three less
    assert inner.value == count_params(model) - 3 * (8 * 9 + 1 + 2) - 8 * 3
    narrow = seen[rows.index(inner)]
    strongest = model.inner.weight.flatten(1).norm(dim=1).topk(3).indices.sort().values
    assert torch.equal(narrow.inner.weight, model.inner.weight[strongest])
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_ratios_that_round_to_the_same_count_are_measured_once():
    model = randomize(ToyDetector())
    groups = find_channel_groups(model, example_image(SIZE)).groups
    rows = list(
        sensitivity(
            model, groups, MagnitudeImportance(), lambda _: 0.0, ratios=(0.9, 0.5, 0.4), round_to=4
        )
    )
    (stem,) = (group.name for group in groups if 'stem' in group.layers)
    assert [row.channels for row in rows if row.group == stem] == [8, 4]


def test_the_plot_has_a_row_for_every_group(tmp_path):
    rows = [
        Sensitivity('stem', 4, 8, 1.5),
        Sensitivity('stem', 2, 8, 2.5),
        Sensitivity('neck', 4, 8, 1.1),
    ]
    path = tmp_path / 'plot.svg'
    plot_sensitivity(rows, path, full=1.0)
    text = path.read_text()
    labels = re.findall(r'<!-- (.*?) -->', text)
    assert labels.index('stem') < labels.index('neck')
    assert 'loss with only this group pruned' in labels
    assert not list(tmp_path.glob('.*'))
