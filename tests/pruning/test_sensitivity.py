import torch

from adasap_det.pruning import MagnitudeImportance, count_params, find_channel_groups
from adasap_det.pruning.sensitivity import sensitivity

from ..helpers.toy import ToyDetector, randomize

SIZE = (6, 6)


def test_one_group_at_a_time_and_the_least_important_first():
    model = randomize(ToyDetector())
    groups = find_channel_groups(model, input_size=SIZE).groups
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    seen = []

    def measure(narrow):
        seen.append(narrow)
        return float(count_params(narrow))

    rows = list(sensitivity(model, groups, MagnitudeImportance(), measure, shares=(0.5,)))
    assert [row.group for row in rows] == [g.name for g in groups]
    assert all(row.channels == row.size / 2 for row in rows)
    inner = next(row for row in rows if row.group == 'inner')
    # three of six filters of 8 inputs with bias and norm, and 'back' reads three less
    assert inner.value == count_params(model) - 3 * (8 * 9 + 1 + 2) - 8 * 3
    narrow = seen[rows.index(inner)]
    strongest = model.inner.weight.flatten(1).norm(dim=1).topk(3).indices.sort().values
    assert torch.equal(narrow.inner.weight, model.inner.weight[strongest])
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_shares_that_round_to_the_same_count_are_measured_once():
    model = randomize(ToyDetector())
    groups = find_channel_groups(model, input_size=SIZE).groups
    rows = list(
        sensitivity(
            model, groups, MagnitudeImportance(), lambda _: 0.0, shares=(0.9, 0.5, 0.4), round_to=4
        )
    )
    (stem,) = (group.name for group in groups if 'stem' in group.layers)
    assert [row.channels for row in rows if row.group == stem] == [8, 4]
