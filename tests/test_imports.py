"""What an import of the package and ``--help`` of its tools import; use without OpenMMLab."""

import importlib

import pytest

import adasap_det

from .helpers.code_blocks import ROOT
from .helpers.fresh import run_fresh

OPENMMLAB = ('mmengine', 'mmcv', 'mmdet', 'mmpretrain')
SLOW = ('torch', 'numpy', 'scipy', 'cv2', 'PIL', 'matplotlib', 'rich', *OPENMMLAB)
IMPORTED = f'import sys; print([name for name in {SLOW} if name in sys.modules])'
WITHOUT_OPENMMLAB = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {OPENMMLAB}:
            raise ImportError(f'{{name}} is blocked', name=name)
sys.meta_path.insert(0, Blocker())
"""
TOOLS = sorted(path.stem for path in (ROOT / 'tools').glob('*.py') if path.stem != 'prepare_voc')


def test_import_of_the_package_imports_nothing_slow():
    assert run_fresh(f'import adasap_det\n{IMPORTED}').strip() == '[]'


@pytest.mark.parametrize('tool', TOOLS)
def test_help_imports_nothing_slow(tool):
    code = (
        'import runpy, sys\n'
        f"sys.argv = ['{tool}', '--help']\n"
        'try:\n'
        f"    runpy.run_path('tools/{tool}.py', run_name='__main__')\n"
        'except SystemExit as done:\n'
        '    assert not done.code\n'
    )
    printed = run_fresh(code + IMPORTED).splitlines()
    assert printed[0].startswith('usage: ')
    assert printed[-1] == '[]'


def test_corruptions_and_builder_work_without_openmmlab(tmp_path):
    code = f"""
from pathlib import Path
import numpy as np
from PIL import Image
from adasap_det.robustness import build_benchmark, corrupt
from adasap_det.robustness.benchmark import folder_source, make_options
from adasap_det.robustness.corruptions import CORRUPTIONS

image = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
for name in CORRUPTIONS:
    out = corrupt(image, corruption=name, severity=3, image_id='one')
    assert out.shape == image.shape, name
folder = Path({str(tmp_path)!r})
(folder / 'images').mkdir()
Image.fromarray(image).save(folder / 'images' / 'one.png')
options = make_options(corruptions=['fog', 'contrast'], severities=[1, 3])
report = build_benchmark(
    folder_source(folder / 'images'), folder / 'out', options=options, workers=0, quiet=True,
    say=lambda text: None)
assert (report.cells, report.images) == (4, 1)
"""
    run_fresh(WITHOUT_OPENMMLAB + code)


def test_make_voc_c_and_robustness_report_run_without_openmmlab(tmp_path):
    code = (
        'from adasap_det.cli import make_voc_c, robustness_report\n'
        f"assert make_voc_c.main(['--source', {str(tmp_path)!r}, '--layout', 'folder']) == 2\n"
        f"assert robustness_report.main([{str(tmp_path)!r}, '--out', 'report']) == 2\n"
    )
    run_fresh(WITHOUT_OPENMMLAB + code)


def test_public_names_are_listed_and_resolve():
    for name in adasap_det.__all__:
        assert name in dir(adasap_det)
        assert getattr(adasap_det, name) is not None
    assert adasap_det.Pruner is importlib.import_module('adasap_det.pruning.pruner').Pruner


@pytest.mark.parametrize('room', ['datasets', 'hooks', 'models', 'optim', 'pruning', 'robustness'])
def test_packages_are_attributes_without_their_import(room):
    code = f"import adasap_det; assert adasap_det.{room}.__name__ == 'adasap_det.{room}'"
    exec(code)
