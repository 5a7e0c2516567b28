from __future__ import annotations

from dataclasses import replace

from adasap_det.robustness.report.comparison import compare
from adasap_det.robustness.report.facts import facts
from adasap_det.robustness.results import ShiftedSet


def test_shifted_sets_have_config_and_number_of_images(model):
    v2 = ShiftedSet('V2', 'configs/imagenet/v2.py', 9, {'AP50': 0.5}, 'sha', 'f')
    lines = {f.label: f for f in facts(compare([model('a'), replace(model('b'), shifted=(v2,))]))}
    assert lines['test set V2'].texts == ['\u2013', 'v2.py, 9 images']
    assert list(lines).index('test set V2') == list(lines).index('corrupted images') + 1


def test_no_row_without_shifted_sets(model):
    assert not any('test set' in fact.label for fact in facts(compare([model('a')])))
