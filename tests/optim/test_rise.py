"""Ratios of the measured to the predicted rise by hand."""

import pytest
import torch

from adasap_det.optim.rise import LARGEST, SMALLEST, SMOOTHING, RiseControl


def scalar(value):
    return torch.tensor(float(value))


def updated(*pairs):
    control = RiseControl()
    for measured, predicted in pairs:
        control.update(measured=scalar(measured), predicted=scalar(predicted))
    return control


def test_the_first_step_asks_for_the_aim_itself():
    assert RiseControl().first_order(0.4) == 0.4


def test_the_aim_is_divided_by_the_measured_over_the_predicted_rise():
    assert float(updated((0.6, 0.2)).first_order(0.4)) == pytest.approx(0.4 / 3)


def test_both_are_smoothed():
    control = updated((0.6, 0.2), (0.1, 0.3))
    ratio = (0.6 * SMOOTHING + 0.1) / (0.2 * SMOOTHING + 0.3)
    assert float(control.first_order(0.4)) == pytest.approx(0.4 / ratio)


@pytest.mark.parametrize(
    ('measured', 'predicted', 'ratio'),
    [(1e6, 1.0, LARGEST), (1e-6, 1.0, SMALLEST), (-1.0, 1.0, SMALLEST), (1.0, 0.0, LARGEST)],
)
def test_the_correction_is_capped(measured, predicted, ratio):
    assert float(updated((measured, predicted)).first_order(0.4)) == pytest.approx(0.4 / ratio)


@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_steps_that_are_not_finite_are_left_out(bad):
    control = updated((0.6, 0.2), (bad, 0.2), (0.6, bad))
    assert float(control.first_order(0.4)) == pytest.approx(0.4 / 3)


def test_a_first_step_that_is_not_finite_corrects_nothing():
    assert float(updated((float('nan'), 0.2)).first_order(0.4)) == pytest.approx(0.4)


def test_ranks_take_the_mean_of_what_they_measured(monkeypatch):
    def all_reduce(pair, op):
        assert op == 'mean'
        pair.copy_((pair + torch.tensor([0.2, 0.6])) / 2)

    monkeypatch.setattr('adasap_det.optim.rise.get_world_size', lambda: 2)
    monkeypatch.setattr('adasap_det.optim.rise.all_reduce', all_reduce)
    assert float(updated((0.6, 0.2)).first_order(0.4)) == pytest.approx(0.4)


def test_state_round_trips():
    control = updated((0.6, 0.2), (0.1, 0.3))
    again = RiseControl()
    again.load_state_dict(control.state_dict())
    for each in (control, again):
        each.update(measured=scalar(0.2), predicted=scalar(0.1))
    assert torch.equal(again.first_order(0.4), control.first_order(0.4))
    assert RiseControl().state_dict() == {}


@pytest.mark.parametrize('curvature', [0.0, 5.0, 200.0])
def test_a_loss_that_is_not_linear_comes_to_the_aim(curvature):
    """The loss rises by s + curvature * s^2 where s is predicted."""
    control = RiseControl()
    for _ in range(200):
        step = torch.as_tensor(control.first_order(0.4))
        measured = step + curvature * step.square()
        control.update(measured=measured, predicted=step)
    assert float(measured) == pytest.approx(0.4, rel=0.01)
