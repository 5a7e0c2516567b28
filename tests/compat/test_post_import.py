"""Actions that run once a module is imported."""

import importlib.util
import sys
from importlib.machinery import SourceFileLoader

import pytest

from adasap_det.compat import post_import
from adasap_det.compat.post_import import after_import


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Name of a module that can be imported, and is forgotten afterwards."""
    (tmp_path / 'imported_later.py').write_text('value = 1\n', 'utf-8')
    monkeypatch.syspath_prepend(tmp_path)
    yield 'imported_later'
    sys.modules.pop('imported_later', None)


def test_action_runs_after_the_module_was_executed(module):
    seen = []
    after_import(module, lambda: seen.append(sys.modules[module].value))
    assert seen == []
    import imported_later  # noqa: F401

    assert seen == [1]


def test_action_runs_at_once_if_the_module_was_imported(module):
    import imported_later  # noqa: F401

    seen = []
    after_import(module, lambda: seen.append(1))
    assert seen == [1]


def test_same_action_waits_once_and_order_is_kept(module):
    seen = []

    def first():
        seen.append('first')

    after_import(module, first)
    after_import(module, lambda: seen.append('second'))
    after_import(module, first)
    import imported_later  # noqa: F401

    assert seen == ['first', 'second']


def test_action_still_waits_after_a_failed_import(module, tmp_path):
    path = tmp_path / 'imported_later.py'
    path.write_text('raise ImportError("not yet")\n', 'utf-8')
    seen = []
    after_import(module, lambda: seen.append(1))
    with pytest.raises(ImportError, match='not yet'):
        import imported_later
    assert seen == []
    path.write_text('value = 22\n', 'utf-8')  # of another length: the byte code has the same second
    import imported_later  # noqa: F401

    assert seen == [1]


def test_missing_module_stays_missing():
    after_import('there_is_no_such_module', lambda: None)
    with pytest.raises(ModuleNotFoundError):
        import there_is_no_such_module  # noqa: F401


def test_two_copies_of_the_package_each_run_their_actions(module, monkeypatch):
    """As after a deletion from ``sys.modules`` and a second import."""
    copy = importlib.util.module_from_spec(post_import.__spec__)
    post_import.__spec__.loader.exec_module(copy)
    monkeypatch.setattr(sys, 'meta_path', [*sys.meta_path])
    seen = []
    after_import(module, lambda: seen.append('first'))
    copy.after_import(module, lambda: seen.append('second'))
    assert importlib.util.find_spec(module) is not None
    import imported_later  # noqa: F401

    assert seen == ['first', 'second']


@pytest.mark.filterwarnings('ignore::ImportWarning')
def test_finders_without_find_spec_are_passed_over(monkeypatch):
    class Old:  # Python 3.11 still asks such finders
        def find_module(self, name, path=None):
            return None

    monkeypatch.setattr(sys, 'meta_path', [*sys.meta_path, Old()])
    after_import('there_is_no_such_module', lambda: None)
    with pytest.raises(ModuleNotFoundError):
        import there_is_no_such_module  # noqa: F401


def test_a_loader_of_many_modules_is_left_alone(module, tmp_path, monkeypatch):
    class Shared(SourceFileLoader):
        def exec_module(self, loaded):
            loaded.executed = True

    shared = Shared(module, str(tmp_path / 'imported_later.py'))

    class Finder:
        def find_spec(self, name, path, target=None):
            if name in (module, 'another'):
                return importlib.util.spec_from_loader(name, shared)

    monkeypatch.setattr(sys, 'meta_path', [Finder(), *sys.meta_path])
    sys.meta_path.insert(0, post_import._FINDER)
    seen = []
    after_import(module, lambda: seen.append(module))
    import imported_later

    assert seen == [module] and imported_later.executed
    assert 'exec_module' not in vars(shared)
    assert imported_later.__loader__ is imported_later.__spec__.loader is shared
    assert importlib.util.find_spec(module).loader is shared
