"""Configs of the package, inherited from elsewhere."""

import subprocess
import sys
from pathlib import Path

import pytest
from mmengine import hub
from mmengine.config import Config

import adasap_det
from adasap_det.compat import config_scope

BASE = 'value = 1\nnested = dict(a=1, b=2)\n'


@pytest.fixture
def shipped(tmp_path, monkeypatch) -> Path:
    """A folder of configs in place of the package's own."""
    folder = tmp_path / 'package' / '.mim' / 'configs'
    (folder / 'sub').mkdir(parents=True)
    (folder / 'recipe_one.py').write_text(BASE)
    (folder / 'sub' / 'recipe_two.py').write_text(BASE)
    monkeypatch.setattr(config_scope, '_PACKAGE', tmp_path / 'package')
    return folder


def test_config_path_is_absolute(shipped):
    assert adasap_det.config_path('recipe_one.py') == str(shipped / 'recipe_one.py')
    assert adasap_det.config_path('sub/recipe_two.py') == str(shipped / 'sub/recipe_two.py')


def test_config_path_names_close_matches(shipped):
    with pytest.raises(ValueError, match=r"'recipe_oen.py'; did you mean one of: recipe_one.py"):
        adasap_det.config_path('recipe_oen.py')


def test_config_path_says_when_nothing_is_shipped(tmp_path, monkeypatch):
    monkeypatch.setattr(config_scope, '_PACKAGE', tmp_path / 'gone')
    with pytest.raises(ValueError, match='Reinstall the package'):
        adasap_det.config_path('recipe_one.py')


@pytest.mark.parametrize('name', ['recipe_one.py', 'sub/recipe_two.py'])
def test_a_downstream_config_inherits_by_scope(shipped, tmp_path, name):
    config = tmp_path / 'mine.py'
    config.write_text(
        f"_base_ = ['adasap_det::{name}']\nnested = dict(b=3)\ntaken = _base_.nested\n"
    )
    cfg = Config.fromfile(config)
    assert cfg.value == 1
    assert cfg.nested == dict(a=1, b=3)
    # No `_scope_`: the classes of the config's own default scope stay visible.
    assert cfg.taken == dict(a=1, b=2)


def test_other_scopes_still_resolve_by_mmengine(tmp_path):
    config = tmp_path / 'mine.py'
    config.write_text("_base_ = 'mmdet::_base_/models/ssd300.py'\n")
    assert Config.fromfile(config).model.bbox_head.type == 'SSDHead'


def test_hub_reads_the_scope(shipped):
    assert hub.get_config('adasap_det::recipe_one.py').nested.b == 2
    with pytest.raises(ValueError, match='no weights are published'):
        hub.get_config('adasap_det::recipe_one.py', pretrained=True)


def test_expression_form_needs_no_import_before(tmp_path):
    """`_base_ = __import__(...)` for launchers that know nothing of this package."""
    names = [p.name for p in config_scope._config_folder().glob('*.py')]
    if not names:
        pytest.skip('no config is shipped')
    config = tmp_path / 'mine.py'
    config.write_text(f"_base_ = __import__('adasap_det').config_path({names[0]!r})\nmine = 7\n")
    code = (
        'import sys\n'
        'from mmengine.config import Config\n'
        f'cfg = Config.fromfile({str(config)!r})\n'
        'assert cfg.mine == 7 and len(cfg) > 1, cfg\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
