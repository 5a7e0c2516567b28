"""All classes are registered and all patches applied, in any order of imports."""

import pickle

import pytest

from adasap_det.robustness.transforms import CorruptImage

from .helpers.fresh import run_fresh

REGISTERED = """
import sys
from mmengine.config import Config
Config.fromstring("custom_imports = dict(imports=['adasap_det'])", '.py')
from mmengine.fileio import get_file_backend
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS, OPTIM_WRAPPERS, TRANSFORMS
names = {
    DATASETS: ['MappedFolder'],
    HOOKS: ['ChannelsLastHook', 'DataCheckHook', 'PruningHook', 'RandomStateHook',
            'RecalibrationHook', 'StructureHook'],
    METRICS: ['ClassificationAccuracy', 'DetectionAP'],
    MODELS: ['SSDExtraLayers'],
    OPTIM_WRAPPERS: ['AdaSAPOptimWrapper', 'AmpAdaSAPOptimWrapper'],
    TRANSFORMS: ['CorruptImage'],
}
for registry, kinds in names.items():
    for kind in kinds:
        assert registry.get(kind) is not None, kind
assert get_file_backend(backend_args=dict(backend='atomic')).__class__.__name__ == 'AtomicBackend'
assert BaseModel._adasap_det_shrinks
assert Config._get_cfg_path._adasap_det
"""
PATCHED = """
import mmcv, mmengine.hub
from mmdet.models import SSDHead
from mmdet.registry import HOOKS as DETECTION_HOOKS
assert DETECTION_HOOKS.get('PruningHook') is not None
assert SSDHead.__init__._adasap_det
assert mmengine.hub.get_config._adasap_det
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    'first',
    [
        'import adasap_det',
        'import adasap_det; from mmdet.registry import HOOKS; assert HOOKS.get("PruningHook")',
        'import mmengine.hub, mmengine.runner, mmengine.model, mmcv; import adasap_det',
        'import mmengine.registry',
        'from adasap_det.hooks import PruningHook',
        'from adasap_det import load_pruned',
        'import adasap_det.compat.shrink_on_load',
        f'import pickle; pickle.loads({pickle.dumps(CorruptImage("fog", 3))!r})',
    ],
    ids=[
        'package',
        'child registry',
        'mmengine',
        'registry',
        'hook',
        'function',
        'patch',
        'pickle',
    ],
)
def test_everything_is_registered_whatever_was_imported_first(first):
    run_fresh(first + REGISTERED + PATCHED)


def test_nothing_is_imported_before_the_first_lookup():
    run_fresh(
        'import sys, adasap_det\n'
        'from mmengine.registry import HOOKS, Registry\n'
        "assert 'adasap_det.hooks' not in sys.modules\n"
        "assert HOOKS.get('PruningHook') is sys.modules['adasap_det.hooks'].PruningHook\n"
        "assert Registry.get.__module__ == 'mmengine.registry.registry'  # no longer replaced\n"
    )
