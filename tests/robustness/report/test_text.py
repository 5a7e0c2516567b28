from __future__ import annotations

import pytest

from adasap_det.robustness.corruptions.names import BENCHMARK, VALIDATION
from adasap_det.robustness.report import text


def test_percent_and_points():
    assert text.percent(0.41249) == '41.2'
    assert text.percent(1) == '100.0'
    assert text.percent(None) == '\u2013'
    assert text.points(0.0123) == '+1.2'
    assert text.points(-0.0123) == '\u22121.2'
    assert text.points(None) == '\u2013'


@pytest.mark.parametrize('tiny', [0.0, -0.0, 0.0004, -0.0004])
def test_values_that_round_to_zero_have_no_sign(tiny):
    assert text.points(tiny) == '0.0'


def test_relative_change():
    assert text.change(50, 100) == '\u221250 %'
    assert text.change(103, 100) == '+3 %'
    assert text.change(100, 100) == '0 %'
    assert text.change(None, 1) == text.change(1, None) == text.change(1, 0) == '\u2013'


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        ([494_940, 1_020_000], ('M', ['0.49', '1.02'])),
        ([26_285_486, 13_142_743], ('M', ['26.3', '13.1'])),
        ([26_285_486, 4_000_000], ('M', ['26.29', '4.00'])),
        ([18_100_000, None], ('M', ['18.1', '\u2013'])),
        ([30_400_000_000], ('G', ['30.4'])),
        ([5_120], ('K', ['5.12'])),
        ([12, 0], ('', ['12', '0'])),
        ([None], ('', ['\u2013'])),
    ],
)
def test_scaled_uses_one_unit_for_all(values, expected):
    assert text.scaled(values) == expected


def test_names_of_corruptions():
    assert text.corruption_name('gaussian_noise') == 'Gaussian noise'
    assert text.corruption_name('jpeg_compression') == 'JPEG compression'
    assert {text.family_of(name) for name in VALIDATION} == {'held out'}
    assert {text.family_of(name) for name in BENCHMARK} == {'noise', 'blur', 'weather', 'digital'}


def test_clean_replaces_invalid_characters():
    assert text.clean('a\x00b\x1b[31m\ud800\uffff') == 'a\ufffdb\ufffd[31m\ufffd\ufffd'
    assert text.clean(' two\nlines\t') == 'two lines'
    assert text.clean('<b>&"ümläut 模型 🙂') == '<b>&"ümläut 模型 🙂'


def test_shortening():
    assert text.shorten('abcdef', 6) == 'abcdef'
    assert text.shorten('abcde fg', 7) == 'abcde…'
    assert text.shorten_start('backbone.layer1.conv1', 21) == 'backbone.layer1.conv1'
    assert text.shorten_start('backbone.layer1.conv1', 18) == '…layer1.conv1'
    assert text.shorten_start('x' * 30, 10) == '…' + 'x' * 9
