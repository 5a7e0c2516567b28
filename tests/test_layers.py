"""The rooms of the package: imports point downward, and no file name has two meanings."""

import ast
from collections import Counter
from pathlib import Path

import adasap_det

PACKAGE = Path(adasap_det.__file__).parent
LAYERS = (
    {'utils', 'registry'},
    {'checkpoint'},
    {'compat'},
    {'datasets', 'models', 'optim', 'pruning'},
    {'export', 'hooks', 'robustness', 'sharpness'},
    {'registration'},
    {'cli'},
    {'demo'},
)
FRAMEWORK_FREE = (
    'optim/perturbation.py',
    'pruning/budgets/selection.py',
    *(str(p.relative_to(PACKAGE)) for p in PACKAGE.glob('robustness/corruptions/*.py')),
)


def imported_modules(path):
    """Absolute names of the modules that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text('utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module


def test_every_room_has_a_layer():
    rooms = {p.name for p in PACKAGE.iterdir() if (p / '__init__.py').is_file()}
    assert rooms | {'registry', 'registration'} == set().union(*LAYERS)
    assert {p.name for p in PACKAGE.glob('*.py')} == {
        '__init__.py',
        'registration.py',
        'registry.py',
    }


def test_imports_point_to_lower_layers():
    rank = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
    upward = []
    for path in PACKAGE.rglob('*.py'):
        room = path.relative_to(PACKAGE).with_suffix('').parts[0]
        if room == '__init__':
            continue
        for name in imported_modules(path):
            if name.startswith('adasap_det.'):
                other = name.split('.')[1]
                if other != room and rank[other] >= rank[room]:
                    upward.append(f'{path.relative_to(PACKAGE)} imports {name}')
    assert not upward


def test_the_maths_imports_no_framework():
    found = [
        f'{file} imports {name}'
        for file in FRAMEWORK_FREE
        for name in imported_modules(PACKAGE / file)
        if name.split('.')[0] in ('mmengine', 'mmcv', 'mmdet', 'mmpretrain')
    ]
    assert not found


def test_module_names_are_unique():
    names = Counter(path.stem for path in PACKAGE.rglob('*.py') if path.stem != '__init__')
    assert [name for name, count in names.items() if count > 1] == []
