"""``config_path`` finds the configs that ship with the package."""

from pathlib import Path

import pytest

import adasap_det
from adasap_det.utils import shipped_configs


@pytest.fixture
def shipped(tmp_path, monkeypatch) -> Path:
    """A folder of configs in place of the package's own."""
    folder = tmp_path / 'package' / '.mim' / 'configs'
    (folder / 'sub').mkdir(parents=True)
    for name in ('recipe_one.py', 'sub/recipe_two.py'):
        (folder / name).touch()
    monkeypatch.setattr(shipped_configs, '_PACKAGE', tmp_path / 'package')
    return folder


def test_path_is_absolute(shipped):
    assert adasap_det.config_path('recipe_one.py') == str(shipped / 'recipe_one.py')
    assert adasap_det.config_path('sub/recipe_two.py') == str(shipped / 'sub/recipe_two.py')


def test_error_lists_close_matches(shipped):
    with pytest.raises(ValueError, match=r"'recipe_oen.py'; did you mean one of: recipe_one.py"):
        adasap_det.config_path('recipe_oen.py')


def test_error_without_any_shipped_config(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped_configs, '_PACKAGE', tmp_path / 'gone')
    with pytest.raises(ValueError, match='Reinstall the package'):
        adasap_det.config_path('recipe_one.py')
