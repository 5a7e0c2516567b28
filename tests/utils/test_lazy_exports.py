"""Names of a package that are imported when they are used."""

import ast
import importlib
import sys
from pathlib import Path

import pytest

from tests.helpers.fresh import run_fresh


def test_names_are_imported_on_use_only(tmp_path):
    package = tmp_path / 'lazy_package'
    package.mkdir()
    (package / '__init__.py').write_text(
        'from adasap_det.utils.lazy_exports import lazy_exports\n'
        "__getattr__, __dir__ = lazy_exports(__name__, {'answer': '.part', 'part': '.'})\n",
        'utf-8',
    )
    (package / 'part.py').write_text('answer = 42\n', 'utf-8')
    run_fresh(
        f'import sys; sys.path.insert(0, {str(tmp_path)!r})\n'
        'import lazy_package\n'
        "assert 'lazy_package.part' not in sys.modules\n"
        "assert {'answer', 'part', '__name__'} <= set(dir(lazy_package))\n"
        'assert lazy_package.answer == lazy_package.part.answer == 42\n'
        'from lazy_package import answer\n'
    )


@pytest.mark.parametrize(
    ('package', 'names'),
    [
        ('adasap_det', 'checkpoint datasets hooks models optim pruning registry robustness'),
        ('adasap_det.datasets', 'mapped_folder objectnet voc_check'),
        (
            'adasap_det.robustness',
            'benchmark corruptions evaluation per_image results transforms',
        ),
    ],
)
def test_modules_are_attributes_also_for_type_checkers(package, names):
    loaded = importlib.import_module(package)
    imported = imports_for_type_checkers(loaded)
    for name in names.split():
        assert loaded.__getattr__(name) is importlib.import_module(f'{package}.{name}')
        assert name in imported


def imports_for_type_checkers(package):
    tree = ast.parse(Path(package.__file__).read_text('utf-8'))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {alias.asname or alias.name for node in block.body for alias in node.names}


def test_unknown_name_is_an_attribute_error():
    package = sys.modules['adasap_det']
    with pytest.raises(AttributeError, match="module 'adasap_det' has no attribute 'Prunner'"):
        package.Prunner  # noqa: B018
