import pytest

from adasap_det.pruning import (
    MACsBudget,
    ParamsBudget,
    count_macs,
    count_params,
    find_channel_groups,
)

from ..toy import ToyDetector


@pytest.mark.parametrize('kind', [ParamsBudget, MACsBudget])
@pytest.mark.parametrize('keep', [0, 1, -0.5, 1.5])
def test_keep_is_a_share(kind, keep):
    with pytest.raises(ValueError, match=rf'budget\.keep.*\(0, 1\), got {keep}'):
        kind(keep=keep)


def test_each_limits_its_own():
    model = ToyDetector()
    groups = find_channel_groups(model, input_size=(6, 6)).groups
    params = ParamsBudget(keep=0.5).cost_model(model, groups, input_size=(6, 6))
    macs = MACsBudget(keep=0.5).cost_model(model, groups, input_size=(6, 6))
    assert params.cost() == count_params(model)
    assert round(macs.cost()) == count_macs(model, input_size=(6, 6))
