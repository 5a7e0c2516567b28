"""Results on disk: saved and loaded again, outdated entries ignored, invalid files reported."""

import dataclasses
import json

import pytest

from adasap_det.robustness import results as c

MODEL = c.ModelInfo(
    name='<b>', config='c.py', checkpoint='c.pth', checkpoint_sha256='0' * 64, params=5, macs=None,
    input_size=(300, 300), latency_ms=1.5, device='cpu',
    dataset=c.DatasetInfo('VOCDataset', 'test.txt', 3, ('a', 'b')),
    channels=(c.LayerChannels('conv', 8, 16),),
)  # fmt: skip
FOG = c.Cell('fog', 3, 'x', 3, {'AP50': 0.5, 'AP': None}, {'AP50': {'a': 0.5, 'b': None}}, 1.0, 'f')
CLEAN = c.Cell(None, 0, 'x', 3, {'AP50': 1, 'AP': 0.25})


@pytest.fixture
def folder(tmp_path):
    c.save_model(tmp_path, MODEL)
    c.save_cell(tmp_path, FOG)
    c.save_cell(tmp_path, CLEAN)
    return tmp_path


def test_saved_results_load_unchanged(folder):
    example = c.ExampleImage('fog-3.jpg', 'fog', 3, '000001')
    c.save_example_images(folder, [example])
    found = c.load_results(folder)
    assert found.model == MODEL
    assert found.cells == {(None, 0): CLEAN, ('fog', 3): FOG}
    assert found.images == (example,)
    assert found.folder == folder
    names = {path.name for path in (folder / 'cells').iterdir()}
    assert names == {'clean.json', 'fog-3.json'}  # no temporary file remains


def test_cells_and_images_with_other_conditions_are_ignored(folder):
    """The checkpoint was trained again, but not every cell was evaluated again."""
    new, old = (
        c.ExampleImage('fog-3.jpg', 'fog', 3, 'a', 'new'),
        c.ExampleImage('x', 'x', 1, 'a'),
    )
    c.save_model(folder, dataclasses.replace(MODEL, conditions='new'))
    clean = dataclasses.replace(CLEAN, conditions='new')
    c.save_cell(folder, clean)
    c.save_example_images(folder, [new, old])
    found = c.load_results(folder)
    assert found.cells == {(None, 0): clean} and found.images == (new,)
    # Interrupted before model.json was rewritten: new cells do not count for the old model.
    c.save_model(folder, MODEL)
    assert set(c.load_results(folder).cells) == {('fog', 3)}


def test_shifted_sets_of_other_checkpoints_are_ignored(folder):
    assert c.load_results(folder).shifted == ()
    own = c.ShiftedSet('V2', 'v2.py', 3, {'top1': 0.5, 'top5': None}, '0' * 64, 'f')
    stale = c.ShiftedSet('Sketch', 'sketch.py', 3, {'top1': 0.25}, '1' * 64, 'f')
    c.save_shifted(folder, [stale, own])
    assert c.load_results(folder).shifted == (own,)
    (folder / 'shifted.json').write_text('{}')
    with pytest.raises(ValueError, match=r'shifted\.json must contain a list'):
        c.load_results(folder)


def change(path, **values):
    data = json.loads(path.read_text())
    data.update(values)
    path.write_text(json.dumps({k: v for k, v in data.items() if v is not ...}))


@pytest.mark.parametrize(
    ('name', 'values', 'message'),
    [
        ('model.json', {'schema': 2}, r'model.json has schema 2, this version reads 1'),
        ('model.json', {'params': '5'}, r"model.json: params is '5', not int"),
        ('model.json', {'macs': True}, r'macs is True, not int'),
        ('model.json', {'config': ...}, r"model.json has no 'config'"),
        ('model.json', {'dataset': []}, r'dataset must contain an object, got list'),
        ('cells/fog-3.json', {'metrics': {'AP50': 'x'}}, r"metrics.AP50 is 'x', not float"),
        ('cells/fog-3.json', {'metrics': {'AP50': 1.5}}, r'AP50 is 1.5, not in \[0, 1\]; delete'),
        ('cells/fog-3.json', {'metrics': {'AP50': float('nan')}}, r'AP50 is nan, not in'),
        ('cells/fog-3.json', {'per_class': {'AP': {'cat': -1}}}, r'cat is -1.0, not in'),
        ('cells/fog-3.json', {'severity': 4}, r'fog-3.json contains the cell fog-4.json'),
    ],
)
def test_invalid_values_are_reported_with_file_and_field(folder, name, values, message):
    change(folder / name, **values)
    with pytest.raises(ValueError, match=message):
        c.load_results(folder)


def test_truncated_and_missing_files(folder):
    (folder / 'cells' / 'fog-3.json').write_text('{"schema": 1, ')
    with pytest.raises(ValueError, match=r'cannot read .*fog-3.json.*delete it'):
        c.load_cells(folder)
    (folder / 'cells' / 'fog-3.json').write_text('[' * 100_000)
    with pytest.raises(ValueError, match=r'cannot read .*fog-3.json.*delete it'):
        c.load_cells(folder)
    skipped = []
    assert set(c.load_cells(folder, skip=skipped.append)) == {c.CLEAN}
    assert len(skipped) == 1 and 'fog-3.json' in skipped[0]
    with pytest.raises(ValueError, match=r'contains no results: model\.json is missing'):
        c.load_results(folder / 'cells')
    (folder / 'model.json').unlink()
    with pytest.raises(ValueError, match=r'is not finished: model\.json .* it resumes'):
        c.load_results(folder)
    assert c.load_cells(folder / 'nowhere') == {}


def test_a_value_that_json_cannot_represent_leaves_the_old_file(folder):
    bad = c.Cell('fog', 3, 'x', 3, {'AP50': float('nan')})
    with pytest.raises(ValueError, match='JSON'):
        c.save_cell(folder, bad)
    assert c.load_cells(folder)['fog', 3] == FOG
    assert len(list((folder / 'cells').iterdir())) == 2
