"""Actions that run once a module is imported."""

import sys

import pytest

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
