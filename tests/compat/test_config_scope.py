"""Configs of the package are inherited by their scope."""

import subprocess
import sys
from pathlib import Path

import pytest
from mmengine import hub
from mmengine.config import Config

from adasap_det.utils import shipped_configs

BASE = 'value = 1\nnested = dict(a=1, b=2)\n'


@pytest.fixture
def shipped(tmp_path, monkeypatch) -> Path:
    """A folder of configs in place of the package's own."""
    folder = tmp_path / 'package' / '.mim' / 'configs'
    (folder / 'sub').mkdir(parents=True)
    (folder / 'recipe_one.py').write_text(BASE)
    (folder / 'sub' / 'recipe_two.py').write_text(BASE)
    monkeypatch.setattr(shipped_configs, '_PACKAGE', tmp_path / 'package')
    return folder


@pytest.mark.parametrize('name', ['recipe_one.py', 'sub/recipe_two.py'])
def test_downstream_config_inherits_by_scope(shipped, tmp_path, name):
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


def test_hub_resolves_the_scope(shipped):
    assert hub.get_config('adasap_det::recipe_one.py').nested.b == 2
    with pytest.raises(ValueError, match='no weights are published'):
        hub.get_config('adasap_det::recipe_one.py', pretrained=True)


def test_expression_form_works_without_importing_the_package_first(tmp_path):
    """`_base_ = __import__(...)`, for launchers that do not import the package."""
    names = [p.name for p in shipped_configs._config_folder().glob('*.py')]
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
