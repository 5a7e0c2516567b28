"""The script that tests stacks of packages; nothing is installed here."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / 'benchmarks' / 'compatibility.py'
spec = importlib.util.spec_from_file_location('compatibility', SCRIPT)
compatibility = importlib.util.module_from_spec(spec)
sys.modules['compatibility'] = compatibility
spec.loader.exec_module(compatibility)

JUNIT = """<testsuites><testsuite time="90.5">
<testcase classname="tests.compat.test_a" name="test_fine"/>
<testcase classname="tests.compat.test_a" name="test_left"><skipped message="no GPU"/></testcase>
<testcase classname="tests.compat.test_a" name="test_bad[1]">
<failure message="AssertionError: one&#10;two">trace</failure></testcase>
<testcase classname="tests.compat.test_b" name="test_setup"><error message="no file"/></testcase>
</testsuite></testsuites>"""


def outcome_of(stack, **changes):
    outcome = compatibility.Outcome(stack, python='3.11.7', compiled=False)
    outcome.versions = compatibility.module_versions(
        {'torch': '2.11.0', 'onedl-mmcv': '2.3.6', 'onedl_mmdetection': '3.5.1', 'scipy': '1'}
    )
    return compatibility.Outcome(**{**vars(outcome), **changes})


def test_results_are_counted_with_names_of_failures(tmp_path):
    (tmp_path / 'results.xml').write_text(JUNIT)
    outcome = outcome_of('onedl')
    compatibility.read_results(tmp_path / 'results.xml', outcome)
    assert outcome.counts == {'passed': 1, 'failed': 2, 'skipped': 1}
    assert outcome.seconds == 90.5
    assert outcome.failures == {
        'tests/compat/test_a.py::test_bad[1]': 'AssertionError: one',
        'tests/compat/test_b.py::test_setup': 'no file',
    }


def test_table_has_a_row_per_stack_and_lists_failures():
    counts = {'passed': 8, 'failed': 1, 'skipped': 2}
    text = compatibility.table(
        [
            outcome_of('onedl', counts=counts, seconds=180, failures={'tests/x.py::test_y': 'why'}),
            outcome_of('upstream', stopped='compile-mmcv: error: no compiler'),
        ]
    )
    head, _, first, second, _, *notes = text.splitlines()
    assert head.count('|') == first.count('|') == second.count('|')
    cells = [cell.strip() for cell in first.split('|')]
    assert cells[3] == '2.11.0' and 'onedl 2.3.6, not compiled' in cells and 'onedl 3.5.1' in cells
    assert cells[-5:] == ['8', '1', '2', '3 min', '']
    assert notes == [
        '- onedl: `tests/x.py::test_y`: why',
        '- upstream stopped at compile-mmcv: error: no compiler',
    ]


def test_command_runs_again_only_if_it_failed_or_changed(tmp_path):
    folder = compatibility.Folder(tmp_path / 'stack', sys.executable)
    count = f'open({str(tmp_path / "count")!r}, "a").write("x")'
    for _ in range(2):
        folder.step('count', [sys.executable, '-c', count])
    assert (tmp_path / 'count').read_text() == 'x'
    fails = [sys.executable, '-c', f'{count}; print("x.cpp:3: error: no such type"); exit(3)']
    for _ in range(2):
        with pytest.raises(compatibility.StepError, match=r'count: x\.cpp:3: error: no such type'):
            folder.step('count', fails)
    assert (tmp_path / 'count').read_text() == 'xxx'


def test_measured_part_of_a_document_is_replaced(tmp_path):
    document = tmp_path / 'a.md'
    document.write_text('before\n<!-- measured -->\nold\n<!-- end -->\nafter\n')
    for text in ('new\n', 'newer\n'):
        compatibility.write_between_marks(document, text)
    assert document.read_text() == 'before\n<!-- measured -->\nnewer\n<!-- end -->\nafter\n'
    document.write_text('no marks')
    with pytest.raises(ValueError, match='needs one'):
        compatibility.write_between_marks(document, 'new')


def test_tested_stacks_are_not_installed_again(tmp_path, monkeypatch):
    installed = []

    def prepare(folder, stack):
        installed.append(folder.path.name)
        (folder.path / 'venv').mkdir()
        (folder.path / 'recipe').write_text('')

    def test(folder, select):
        (folder.path / 'results.xml').write_text(JUNIT)
        return folder.path / 'results.xml'

    for name, value in (('prepare', prepare), ('test', test), ('describe', lambda *a: None)):
        monkeypatch.setattr(compatibility, name, value)
    once = ['--out', str(tmp_path), '--stacks', 'onedl', '--select', 'tests/a']
    assert compatibility.main(once) == compatibility.main(once) == 1  # tests failed
    assert installed == ['onedl'] and not (tmp_path / 'onedl' / 'venv').exists()
    compatibility.main([*once[:-1], 'tests/b'])
    assert installed == ['onedl'] * 2
