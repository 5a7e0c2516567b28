"""The tables of options agree with the signatures and parsers of the code."""

import argparse
import ast
import inspect
import re

import pytest

from adasap_det import Pruner, datasets, hooks, models, optim
from adasap_det.cli.usage import add_common_options
from adasap_det.optim.radii import DEFAULT_RADII, RADIUS_RATIO, RISE, UNIFORM_RISE
from adasap_det.registry import BUDGETS, IMPORTANCES
from adasap_det.robustness.transforms import CorruptImage

from ..helpers.code_blocks import ROOT
from ..helpers.commands import parser_of

IMPORTANCES.import_from_location()
CLASSES = {
    *(getattr(hooks, name) for name in hooks.__all__),
    *(getattr(models, name) for name in models.__all__),
    *BUDGETS.module_dict.values(),
    *(kind for kind in IMPORTANCES.module_dict.values() if kind.__module__.startswith('adasap')),
    optim.AdaSAPOptimWrapper,
    datasets.MappedFolder,
    CorruptImage,
    Pruner,
}
NO_OPTIONS = ('self', 'args', 'kwargs')
_HEAD = '| option | default | meaning |\n| --- | --- | --- |\n'


def table_of(heading):
    """Default and meaning of each option in the section of this heading, as written."""
    text = '\n\n'.join(
        (ROOT / f'docs/{page}.md').read_text('utf-8') for page in ('options', 'pruner')
    )
    (section,) = re.findall(rf'^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)', text, re.M | re.S)
    if _HEAD not in section:
        assert 'has no\noptions' in section or 'has no options' in section, heading
        return {}
    rows = section.partition(_HEAD)[2].partition('\n\n')[0].splitlines()
    cells = [[cell.strip() for cell in row.strip('|').split(' | ')] for row in rows]
    assert all(len(row) == 3 for row in cells), heading
    return {name.strip('`'): (default, meaning) for name, default, meaning in cells}


def parameters_of(kind):
    """Parameters of the constructor and of those that it passes its own on to."""
    return {
        name: parameter
        for cls in reversed(kind.__mro__[:-1])
        for name, parameter in inspect.signature(cls.__init__).parameters.items()
        if name not in NO_OPTIONS
    }


def check_default(parameter, written):
    """Compare a table's default with the signature's; None may be described in words."""
    if parameter.default is inspect.Parameter.empty:
        assert written == 'required'
    elif parameter.default is None:
        assert written
        assert written != 'required'
    elif isinstance(parameter.default, dict):
        assert written == f'`dict({", ".join(f"{k}={v!r}" for k, v in parameter.default.items())})`'
    else:
        assert ast.literal_eval(written.strip('`')) == parameter.default


@pytest.mark.parametrize('kind', sorted(CLASSES, key=lambda cls: cls.__name__))
def test_table_has_every_option_with_its_default(kind):
    table = table_of(f'`{kind.__name__}`')
    own = {
        name: parameter
        for name, parameter in inspect.signature(kind.__init__).parameters.items()
        if name not in NO_OPTIONS
    }
    assert set(own) <= set(table) <= set(parameters_of(kind))
    for name, (default, meaning) in table.items():
        parameter = parameters_of(kind)[name]
        assert parameter.kind != inspect.Parameter.POSITIONAL_ONLY
        assert meaning, name
        if kind.__name__ != 'SSDExtraLayers' or name != 'init_cfg':  # described in words
            check_default(parameter, default)


@pytest.mark.parametrize('kind', sorted(CLASSES, key=lambda cls: cls.__name__))
def test_docstring_describes_every_option(kind):
    for name in inspect.signature(kind.__init__).parameters:
        described = any(
            re.search(rf'^\s+[\w, ]*\b{name}\b[^:\n]*:', base.__doc__ or '', re.M)
            for base in kind.__mro__
            if base.__module__.startswith('adasap_det')
        )
        assert described or name in NO_OPTIONS, name


def test_table_of_mixed_precision_has_the_options_it_adds():
    plain, amp = (
        parameters_of(kind) for kind in (optim.AdaSAPOptimWrapper, optim.AmpAdaSAPOptimWrapper)
    )
    table = table_of('`AmpAdaSAPOptimWrapper`')
    assert set(table) == set(amp) - set(plain) - {'use_fsdp'}  # FSDP is rejected
    for name, (default, _) in table.items():
        check_default(amp[name], default)


def test_default_radii_of_both_forms_are_in_the_table():
    table = table_of('`AdaSAPOptimWrapper`')
    for i, name in enumerate(('rho_min', 'rho_max', 'rho')):
        asam, sam = DEFAULT_RADII['asam'][i], DEFAULT_RADII['sam'][i]
        assert table[name][0] == f'ASAM `{asam}`, SAM `{sam}`'


def test_default_rises_are_in_the_table():
    table = table_of('`AdaSAPOptimWrapper`')
    for name, value in (
        ('rise', RISE),
        ('uniform_rise', UNIFORM_RISE),
        ('radius_ratio', RADIUS_RATIO),
    ):
        assert float(table[name][0].strip('`')) == value


def test_default_importance_of_the_hook_is_in_the_table():
    hook = hooks.PruningHook(budget=dict(type='ParamsBudget', keep_ratio=0.5))
    assert table_of('`PruningHook`')['importance'][0] == f'`{type(hook.importance).__name__}`'


def test_table_of_prune_has_every_option_with_its_default():
    common = argparse.ArgumentParser()
    add_common_options(common)
    left_out = {'help', *(action.dest for action in common._actions)}
    actions = {
        action.option_strings[0]: action
        for action in parser_of('adasap_det.cli.prune')._actions
        if action.option_strings and action.dest not in left_out
    }
    table = table_of('tools/prune.py')
    assert set(table) == set(actions)
    for name, (default, meaning) in table.items():
        assert meaning
        if actions[name].default not in (None, False, []):
            assert default == f'`{actions[name].default}`', name
