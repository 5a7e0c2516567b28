"""The detection study: its configs, and what it recorded."""

import pytest
from mmengine.config import Config

from .conftest import BENCHMARKS


@pytest.fixture
def voc2012(script):
    return script('voc2012')


def test_the_hook_that_the_arms_change_is_the_pruning_hook_of_every_network(voc2012):
    key, index = voc2012.HOOK.split('.')
    for network in voc2012.NETWORKS:
        for twin in ('pruned', 'adasap'):
            config = Config.fromfile(voc2012.study.ROOT / voc2012.CONFIG.format(network, twin))
            assert config[key][int(index)].type == 'PruningHook'


def test_the_study_to_convergence_turns_images_over_and_nothing_more(voc2012):
    path = voc2012.CONFIG.format('ssdlite128_voc2012_900', 'adasap')
    config = Config.fromfile(voc2012.study.ROOT / path)
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
        ('voc2012', {'plain', 'plain, two times', 'AdaSAP'}),
        ('voc2012_second_set', {'plain', 'plain, two times', 'AdaSAP'}),
        ('voc2012_second_dense', {'plain', 'plain, two times', 'AdaSAP', 'AdaSAP, rho 1'}),
        (
            'voc2012_second_dense_second_set',
            {'plain', 'plain, two times', 'AdaSAP', 'AdaSAP, rho 1'},
        ),
    ],
)
def test_what_is_recorded_adds_up(voc2012, name, arms):
    recorded = voc2012.records.read(BENCHMARKS / f'results/{name}.json')
    by_arm = {(r.network, r.keep, r.arm) for r in recorded}
    assert by_arm >= {
        ('ssdlite128_voc2012_900', 1, 'dense'),
        *(('ssdlite128_voc2012_900', 0.4, arm) for arm in arms),
    }
    for one in recorded:
        # 15 corruptions at each severity: the mean of the severities is the mean of all cells.
        assert sum(one.severities) / 5 == pytest.approx(one.mpc, abs=0.02)


@pytest.mark.parametrize('name', ['voc2012', 'voc2012_second_dense'])
def test_the_second_set_is_of_the_same_networks(voc2012, name):
    def recorded(name):
        found = voc2012.records.read(BENCHMARKS / f'results/{name}.json')
        return {one.key: (one.params, one.clean, one.loss) for one in found}

    first, second = recorded(name), recorded(f'{name}_second_set')
    assert second == {key: first[key] for key in second}


def test_the_second_dense_detector_is_another(voc2012):
    def dense(name):
        found = voc2012.records.read(BENCHMARKS / f'results/{name}.json')
        return {one.dense for one in found}

    assert len(dense('voc2012_second_dense')) == 1
    assert not dense('voc2012_second_dense') & dense('voc2012')


def test_the_short_study_is_recorded_too(voc2012):
    found = voc2012.records.read(BENCHMARKS / 'results/voc2012.json')
    by_arm = {(r.keep, r.arm) for r in found if r.network == 'ssdlite160_voc2012'}
    assert by_arm >= {(1, 'dense'), (0.4, 'plain'), (0.4, 'AdaSAP')}
