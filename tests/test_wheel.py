"""The wheel, installed outside the checkout: its configs, and training with them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# The sources that packaging reads, without environments, data and results.
SOURCES = ('adasap_det', 'configs', 'tools')
FILES = ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'README.md', 'LICENSE', 'model-index.yml')

pytestmark = pytest.mark.slow


def run(*command: str, cwd: Path, **env: str) -> str:
    """Run a command outside the checkout; return its output, or fail with it."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**{k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}, **env},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f'{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}'
    return done.stdout + done.stderr


def build_wheel(source: Path, folder: Path) -> Path:
    """Build without network, with the installed setuptools."""
    pip = (sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation')
    run(*pip, '-w', str(folder), str(source), cwd=folder.parent)
    (wheel,) = folder.glob('adasap_det-*.whl')
    return wheel


@pytest.fixture(scope='module')
def checkout(tmp_path_factory) -> Path:
    """Copy of the sources, as building writes files into them."""
    copy = tmp_path_factory.mktemp('checkout')
    for name in SOURCES:
        ignore = shutil.ignore_patterns('__pycache__')
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignore)
    for name in FILES:
        shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture(scope='module')
def wheel(checkout, tmp_path_factory) -> Path:
    return build_wheel(checkout, tmp_path_factory.mktemp('wheel'))


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory) -> Path:
    """Folder with only the content of the wheel."""
    target = tmp_path_factory.mktemp('site')
    pip = (sys.executable, '-m', 'pip', 'install', '--no-deps', '--target', str(target))
    run(*pip, str(wheel), cwd=target)
    return target


def test_contains_every_config_and_tool(wheel):
    with zipfile.ZipFile(wheel) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    for folder in ('configs', 'tools'):
        files = [p for p in (ROOT / folder).rglob('*') if p.is_file()]
        sources = [p for p in files if '__pycache__' not in p.parts]
        assert sources
        for path in (*sources, ROOT / 'model-index.yml'):
            name = f'adasap_det/.mim/{path.relative_to(ROOT).as_posix()}'
            assert content.get(name) == path.read_bytes(), name
    assert 'adasap_det/py.typed' in content
    assert not [name for name in content if name.startswith(('tests/', 'configs/', 'tools/'))]


def test_source_distribution_builds_the_same_wheel(checkout, wheel, tmp_path):
    code = f'from setuptools.build_meta import build_sdist; build_sdist({str(tmp_path)!r})'
    run(sys.executable, '-c', code, cwd=checkout)
    (sdist,) = tmp_path.glob('*.tar.gz')
    (tmp_path / 'out').mkdir()
    again = build_wheel(sdist, tmp_path / 'out')
    assert sorted(zipfile.ZipFile(again).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())


def test_metadata_has_the_entry_points_and_requires_no_openmmlab_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (info,) = {n.split('/')[0] for n in archive.namelist() if '.dist-info/' in n}
        metadata = archive.read(f'{info}/METADATA').decode()
        entry_points = archive.read(f'{info}/entry_points.txt').decode()
        assert f'{info}/licenses/LICENSE' in archive.namelist() or (
            f'{info}/LICENSE' in archive.namelist()
        )
    required = [
        line
        for line in metadata.splitlines()
        if line.startswith('Requires-Dist:') and 'extra ==' not in line
    ]
    assert required and not [line for line in required if 'mm' in line.lower()]
    assert 'adasap-train = adasap_det.cli.train:main' in entry_points
    assert 'adasap-test = adasap_det.cli.test:main' in entry_points


def test_finds_its_configs(installed, tmp_path):
    name = 'ssdlite/ssdlite224_mobilenetv2_adasap-params40_1xb16-90e_voc0712.py'
    code = (
        'import adasap_det; from pathlib import Path\n'
        f"print('PATH', adasap_det.config_path('{name}'))\n"
        'print("FILE", adasap_det.__file__)\n'
    )
    out = run(sys.executable, '-c', code, cwd=tmp_path, PYTHONPATH=str(installed))
    mim = installed / 'adasap_det' / '.mim' / 'configs' / name
    assert f'PATH {mim}' in out
    assert f'FILE {installed}' in out


DOWNSTREAM = """
_base_ = 'adasap_det::ssdlite/ssdlite224_mobilenetv2_adasap-params40_1xb16-90e_voc0712.py'
classes = {classes!r}
data = dict(data_root={root!r}, metainfo=dict(classes=classes))
model = dict(backbone=dict(init_cfg=None), bbox_head=dict(num_classes=len(classes)))
train_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False,
    dataset=dict(
        _delete_=True, type='XMLDataset', ann_file='VOC2007/ImageSets/Main/train.txt',
        data_prefix=dict(sub_data_root='VOC2007/'), pipeline=_base_.train_pipeline, **data))
val_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False,
    dataset=dict(
        _delete_=True, type='XMLDataset', ann_file='VOC2007/ImageSets/Main/val.txt',
        data_prefix=dict(sub_data_root='VOC2007/'), pipeline=_base_.test_pipeline,
        test_mode=True, **data))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=2, val_interval=2)
custom_hooks = []
default_hooks = dict(pruning=dict(
    type='PruningHook', budget=dict(type='ParamsBudget', keep_ratio=0.6), by_epoch=False,
    prune_begin=1, prune_steps=1, prune_interval=1, round_to=8, input_size=(224, 224)))
"""


def test_trains_a_downstream_config(installed, tmp_path):
    """Another project inherits a config, prunes, and tests the result with the dense config."""
    python = (sys.executable, '-m')
    env = {'PYTHONPATH': str(installed), 'OMP_NUM_THREADS': '1'}
    code = (
        'from adasap_det.datasets import SHAPE_CLASSES, make_shapes_voc\n'
        "make_shapes_voc('shapes', num_train=8, num_val=4, num_test=4, image_size=96, seed=0)\n"
        "print('CLASSES', *SHAPE_CLASSES)\n"
    )
    out = run(sys.executable, '-c', code, cwd=tmp_path, **env)
    (line,) = [line for line in out.splitlines() if line.startswith('CLASSES ')]
    config = tmp_path / 'downstream.py'
    root = str(tmp_path / 'shapes')
    config.write_text(DOWNSTREAM.format(classes=tuple(line.split()[1:]), root=root))

    log = run(*python, 'adasap_det.cli.train', 'downstream.py', cwd=tmp_path, **env)
    checkpoint = tmp_path / 'work_dirs/downstream/epoch_2.pth'
    assert checkpoint.is_file()
    assert 'pascal_voc/mAP' in log

    (tmp_path / 'dense.py').write_text(
        "_base_ = 'downstream.py'\ndefault_hooks = dict(pruning=None)\n"
    )
    log = run(*python, 'adasap_det.cli.test', 'dense.py', str(checkpoint), cwd=tmp_path, **env)
    assert 'Model shrunk to the pruned structure' in log
    assert 'pascal_voc/mAP' in log
