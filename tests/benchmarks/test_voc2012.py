"""The VOC 2012 study: its configs and recorded results."""

import pytest
from mmengine.config import Config

from .conftest import BENCHMARKS


@pytest.fixture
def voc2012(script):
    return script('voc2012')


@pytest.fixture
def records(script):
    return script('records')


@pytest.mark.parametrize('variant', ['pruned', 'adasap'])
@pytest.mark.parametrize('network', ['ssdlite160_voc2012', 'ssdlite128_voc2012_900'])
def test_overrides_of_the_arms_reach_the_pruning_hook(voc2012, network, variant):
    key, name = voc2012.HOOK.split('.')
    config = Config.fromfile(BENCHMARKS.parent / voc2012.STUDY.config(network, variant))
    assert config[key][name].type == 'PruningHook'


def test_converged_study_augments_with_random_flips_only(voc2012):
    path = voc2012.STUDY.config('ssdlite128_voc2012_900', 'adasap')
    config = Config.fromfile(BENCHMARKS.parent / path)
    steps = config.train_dataloader.dataset.pipeline
    assert [step.type for step in steps] == [
        'LoadImageFromFile', 'LoadAnnotations', 'Resize', 'RandomFlip', 'PackDetInputs',
    ]  # fmt: skip
    assert config.train_dataloader.dataset.ann_file.endswith('small_train.txt')
    tests = config.test_dataloader.dataset.pipeline
    assert [step.scale for step in (*steps, *tests) if step.type == 'Resize'] == [(128, 128)] * 2


@pytest.mark.parametrize(
    ('name', 'arms'),
    [
        ('voc2012', {'plain', 'plain, 2x epochs', 'AdaSAP'}),
        ('voc2012_second_set', {'plain', 'plain, 2x epochs', 'AdaSAP'}),
        ('voc2012_second_dense', {'plain', 'plain, 2x epochs', 'AdaSAP', 'AdaSAP, rho 1'}),
        (
            'voc2012_second_dense_second_set',
            {'plain', 'plain, 2x epochs', 'AdaSAP', 'AdaSAP, rho 1'},
        ),
    ],
)
def test_recorded_severities_average_to_mpc(records, name, arms):
    recorded = records.read(BENCHMARKS / f'results/{name}.json')
    by_arm = {(r.network, r.keep_ratio, r.arm) for r in recorded}
    assert by_arm >= {
        ('ssdlite128_voc2012_900', 1, 'dense'),
        *(('ssdlite128_voc2012_900', 0.4, arm) for arm in arms),
    }
    for one in recorded:
        # 15 corruptions at each severity: the mean of the severities is the mean of all cells.
        assert sum(one.severities) / 5 == pytest.approx(one.mpc, abs=0.02)


@pytest.mark.parametrize('name', ['voc2012', 'voc2012_second_dense'])
def test_second_test_set_evaluates_the_same_networks(records, name):
    def recorded(name):
        found = records.read(BENCHMARKS / f'results/{name}.json')
        return {one.key: (one.params, one.clean, one.loss) for one in found}

    first, second = recorded(name), recorded(f'{name}_second_set')
    assert second == {key: first[key] for key in second}


def test_second_dense_detector_differs_from_the_first(records):
    def dense(name):
        found = records.read(BENCHMARKS / f'results/{name}.json')
        return {one.dense for one in found}

    assert len(dense('voc2012_second_dense')) == 1
    assert not dense('voc2012_second_dense') & dense('voc2012')


def test_short_study_is_recorded(records):
    found = records.read(BENCHMARKS / 'results/voc2012.json')
    by_arm = {(r.keep_ratio, r.arm) for r in found if r.network == 'ssdlite160_voc2012'}
    assert by_arm >= {(1, 'dense'), (0.4, 'plain'), (0.4, 'AdaSAP')}
