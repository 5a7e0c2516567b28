from __future__ import annotations

import platform

import pytest
import torch

from adasap_det.robustness.benchmark import BenchmarkError, make_options
from adasap_det.robustness.benchmark.options import IMAGENET_C, software
from adasap_det.robustness.corruptions import BENCHMARK


def test_the_default_is_the_papers_benchmark():
    options = make_options()
    assert options.corruptions == BENCHMARK
    assert options.severities == (1, 2, 3, 4, 5)
    assert len(options.cells) == 75
    assert (options.format, options.quality, options.subsampling) == ('jpg', 95, '4:2:0')


def test_png_has_neither_quality_nor_subsampling():
    options = make_options(format='png', quality=50)
    assert options.quality is None and options.subsampling is None
    assert options == make_options(format='png')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(corruptions=['fogg']), "unknown corruption 'fogg'"),
        (dict(severities=[6]), 'severity 6 is not one of'),
        (dict(severities=[0]), 'severity 0 is not one of'),
        (dict(corruptions=[]), 'at least one corruption'),
        (dict(format='gif'), "format 'gif'"),
        (dict(quality=0), 'quality is 0'),
        (dict(quality=101), 'quality is 101'),
        (dict(subsampling='4:1:1'), "subsampling '4:1:1'"),
        (dict(seed=-1), 'seed is -1'),
    ],
)
def test_invalid_options_raise(options, message):
    with pytest.raises(BenchmarkError, match=message):
        make_options(**options)


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        (dict(quality=95), 'quality 85, not 95; leave out --quality'),
        (dict(format='png'), 'format jpg, not png; leave out --format'),
        (dict(subsampling='4:4:4'), 'subsampling 4:2:0, not 4:4:4; leave out --subsampling'),
        (dict(crop=None), 'crop 224, not None; leave out --crop'),
    ],
)
def test_options_other_than_those_of_imagenet_c_are_named(option, message):
    with pytest.raises(BenchmarkError, match=f'^--layout imagenet-c stores images with {message}$'):
        make_options(imagenet_c=True, **{**IMAGENET_C, **option})


def test_crop_is_recorded_only_if_given():
    assert make_options(crop=224).to_json()['crop'] == 224
    assert 'crop' not in make_options().to_json()
    with pytest.raises(BenchmarkError, match='crop is 31; the corruptions need 32'):
        make_options(crop=31)


def test_software_lists_the_processor_and_all_libraries_that_affect_pixels():
    found = software()
    assert found.keys() == {
        *('corruptions', 'opencv', 'numpy', 'scipy', 'pillow', 'torch', 'processor')
    }
    assert found['processor'] == platform.machine()
    # Builds for other GPUs give the same results on the CPU.
    assert found['torch'] == torch.__version__.partition('+')[0]
