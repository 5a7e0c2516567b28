import pytest

from adasap_det.hooks.schedule import make_schedule

OPTIONS = {
    'by_epoch': True,
    'adaptive_begin': 1,
    'prune_begin': 2,
    'prune_steps': 3,
    'prune_interval': 4,
    'iters_per_epoch': 10,
    'max_iters': 100,
}


def test_epochs_become_iterations():
    schedule = make_schedule(**OPTIONS)
    assert (schedule.adaptive_begin, schedule.prune_begin, schedule.last_prune_step) == (10, 20, 28)
    assert [i for i in range(100) if schedule.prune_step_before(i) is not None] == [20, 24, 28]
    assert [schedule.prune_step_before(i) for i in (20, 24, 28)] == [0, 1, 2]
    stages = [schedule.stage(i) for i in (0, 9, 10, 20, 27, 28, 99)]
    assert stages == ['plain', 'plain', 'adaptive', 'adaptive', 'adaptive', 'uniform', 'uniform']


def test_iterations_stay_iterations():
    schedule = make_schedule(**{**OPTIONS, 'by_epoch': False})
    assert (schedule.adaptive_begin, schedule.prune_begin, schedule.last_prune_step) == (1, 2, 10)


def test_ratio_decreases_exponentially():
    schedule = make_schedule(**OPTIONS)
    assert [schedule.limit_after(k, dense=16.0, final=2.0) for k in range(3)] == pytest.approx(
        [8.0, 4.0, 2.0]
    )


def test_prune_steps_wait_for_accumulated_steps():
    schedule = make_schedule(**{**OPTIONS, 'by_epoch': False, 'accumulative_counts': 3})
    assert (schedule.prune_begin, schedule.prune_interval) == (3, 6)


def test_last_prune_step_may_be_the_last_iteration_but_not_later():
    one = {**OPTIONS, 'by_epoch': False, 'prune_steps': 1}
    assert make_schedule(**{**one, 'prune_begin': 99}).last_prune_step == 99
    with pytest.raises(ValueError, match='training ends after 100'):
        make_schedule(**{**one, 'prune_begin': 100})
