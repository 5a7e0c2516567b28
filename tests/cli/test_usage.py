"""Usage errors, and what the parsers spell out, so that --help imports nothing slow."""

import weakref

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from adasap_det.cli import (
    benchmark,
    export,
    make_voc_c,
    make_voc_c_command,
    measure_rise,
    prune,
    prune_options,
    robustness_report,
    test,
    usage,
)
from adasap_det.cli.usage import UsageError
from adasap_det.export import onnx, runtimes
from adasap_det.optim import perturbation, radius_map
from adasap_det.robustness.benchmark import build, options, source_images
from adasap_det.robustness.report import write


def action(module, option):
    (found,) = (a for a in module._parser()._actions if option in a.option_strings)
    return found


def test_choices_are_those_of_the_code():
    for module, option, choices in (
        (benchmark, '--variants', runtimes.VARIANTS),
        (measure_rise, '--form', perturbation.FORMS),
        (measure_rise, '--radius-map', tuple(radius_map.RADIUS_MAPS)),
        (prune, '--budget', tuple(prune_options._BUDGETS)),
        (make_voc_c, '--layout', (*source_images.LAYOUTS, make_voc_c_command._IMAGENET_C)),
        (make_voc_c, '--format', options.FORMATS),
        (make_voc_c, '--subsampling', options.SUBSAMPLINGS),
        (make_voc_c, '--on-error', build.ON_ERROR),
    ):
        assert action(module, option).choices == choices, option


def test_defaults_are_those_of_the_code():
    assert action(export, '--opset').default == onnx.OPSET
    assert f'({onnx.OPSET})' in action(export, '--opset').help
    assert action(robustness_report, '--title').default == write.TITLE


def test_help_lists_all_importances_of_the_package():
    text = action(prune, '--importance').help
    assert prune_options.DEFAULT_IMPORTANCE in text
    kinds = [
        name
        for name, kind in prune_options.IMPORTANCES.module_dict.items()
        if kind.__module__.startswith('adasap_det.')
    ]
    assert text.endswith(', '.join(sorted(kinds)))


@pytest.mark.parametrize(
    ('words', 'options'),
    [
        (['--cfg-options', 'a.b=1', 'c=[2,3]'], {'a.b': 1, 'c': [2, 3]}),
        (['--cfg-options', 'a=1', '--cfg-options', 'b=x'], {'a': 1, 'b': 'x'}),
        ([], None),
    ],
)
def test_config_options_are_read_as_by_mmengine(words, options):
    args = test._parser().parse_args(['config.py', 'file.pth', *words])
    assert args.cfg_options == options


def test_usage_errors_become_one_line(capsys):
    def wrong():
        raise UsageError('bad option')

    assert usage.report_usage_errors('prog', wrong) == 2
    assert capsys.readouterr().err == 'prog: error: bad option\n'
    assert usage.report_usage_errors('prog', lambda: None) == 0


def test_other_errors_keep_their_traceback():
    def fault():
        raise ValueError('internal error')

    with pytest.raises(ValueError, match='internal error'):
        usage.report_usage_errors('prog', fault)


@pytest.fixture
def group(tmp_path):
    store = f'file://{tmp_path}/store'
    dist.init_process_group('gloo', init_method=store, rank=0, world_size=1)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def test_process_group_and_its_references_end_with_the_command(group):
    held = []

    def command():
        model = DistributedDataParallel(torch.nn.Linear(2, 1))
        model.runner = model  # a reference cycle, as of a runner and its hooks
        held.append(weakref.ref(model))

    assert usage.report_usage_errors('prog', command) == 0
    assert held[0]() is None
    assert not dist.is_initialized()


def test_process_group_is_kept_after_a_failure(group):
    def fault():
        raise RuntimeError('one rank alone')

    with pytest.raises(RuntimeError, match='one rank alone'):
        usage.report_usage_errors('prog', fault)
    assert dist.is_initialized()
