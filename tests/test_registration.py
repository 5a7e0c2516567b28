"""All classes are registered and all patches applied, in any order of imports."""

import pickle
import threading

import pytest
from mmengine.registry import HOOKS, Registry

from adasap_det import registration
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
        "assert Registry._register_module.__module__ == 'mmengine.registry.registry'\n"
    )


class Late:
    """A class of the package in the tests below."""

    __module__ = 'adasap_det.late'


@pytest.fixture
def registering(monkeypatch):
    """Function that installs the hook: as in a process in which nothing was registered."""
    HOOKS.get('PruningHook')  # the real registration is over
    for name in ('get', '_register_module'):
        monkeypatch.setattr(Registry, name, getattr(Registry, name))
    monkeypatch.setattr(HOOKS, '_module_dict', dict(HOOKS.module_dict))

    def install(register_all):
        monkeypatch.setattr(registration, 'register_all', register_all)
        registration.register_on_first_lookup()

    return install


def test_a_failed_registration_is_an_error_of_every_lookup_until_it_succeeds(registering):
    failures = [ModuleNotFoundError('first'), ModuleNotFoundError('second')]

    def register_all():
        if failures:
            raise failures.pop(0)
        HOOKS.register_module(module=Late)

    registering(register_all)
    for text in ('first', 'second'):
        with pytest.raises(ModuleNotFoundError, match=text):
            HOOKS.get('Late')
    assert HOOKS.get('Late') is Late


def test_other_threads_wait_for_the_registration(registering):
    begun, asked = threading.Event(), threading.Event()

    def register_all():
        begun.set()
        asked.wait(0.2)  # is set at once by a thread that does not wait
        assert HOOKS.get('Late') is None  # look-ups by our modules do not register again
        HOOKS.register_module(module=Late)

    found = []

    def ask():
        begun.wait()
        found.append(HOOKS.get('Late'))
        asked.set()

    registering(register_all)
    other = threading.Thread(target=ask)
    other.start()
    HOOKS.get('Late')
    other.join()
    assert found == [Late]


def test_an_override_before_the_registration_is_kept(registering):
    registering(lambda: HOOKS.register_module(module=Late))
    theirs = type('Late', (), {'__module__': 'user'})
    HOOKS.register_module(module=theirs, force=True)
    assert HOOKS.get('Late') is theirs


def test_the_same_name_without_force_is_an_error(registering):
    registering(lambda: HOOKS.register_module(module=Late))
    HOOKS.register_module(module=type('Late', (), {'__module__': 'user'}))
    with pytest.raises(KeyError, match='Late is already registered'):
        HOOKS.get('Late')


def test_patch_by_another_package_stays(registering, monkeypatch):
    registered, seen = [], []
    registering(lambda: registered.append(1))
    ours = Registry.get

    def patched(self, key):
        seen.append(key)
        return ours(self, key)

    monkeypatch.setattr(Registry, 'get', patched)
    for key in ('a', 'b'):
        HOOKS.get(key)
    assert Registry.get is patched
    assert (seen, registered) == (['a', 'b'], [1])


@pytest.mark.parametrize(
    'error',
    [
        ImportError("cannot import name 'x' from 'mmcv.cnn'", name='mmcv.cnn'),
        ModuleNotFoundError("No module named 'mmcv.ops'", name='mmcv.ops'),
    ],
)
def test_only_a_missing_mmcv_is_tolerated(monkeypatch, error):
    def fail(name):
        raise error

    monkeypatch.setattr(registration, 'MODULES', ())
    monkeypatch.setattr(registration, 'import_module', fail)
    with pytest.raises(ImportError, match='mmcv'):
        registration.register_all()
    error = ModuleNotFoundError("No module named 'mmcv'", name='mmcv')
    registration.register_all()
