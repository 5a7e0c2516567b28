"""README and metafile of each family list its configs, and model-index.yml every metafile."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

from adasap_det import config_path

from ..helpers.commands import check, split
from .test_configs import CONFIGS, load

ROOT = CONFIGS.parent
FOLDERS = sorted(
    path.name
    for path in CONFIGS.iterdir()
    if path.is_dir() and path.name not in ('_base_', 'demo', '__pycache__')
)


def configs_of(folder: str) -> list[str]:
    return sorted(path.name for path in (CONFIGS / folder).glob('*.py'))


def readme(folder: str) -> str:
    return (CONFIGS / folder / 'README.md').read_text('utf-8')


def metafile(folder: str) -> dict:
    return yaml.safe_load((CONFIGS / folder / 'metafile.yml').read_text('utf-8'))


def test_model_index_imports_every_metafile():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text('utf-8'))
    assert index == {'Import': [f'configs/{folder}/metafile.yml' for folder in FOLDERS]}


@pytest.mark.parametrize('folder', FOLDERS)
def test_metafile_lists_every_config_once(folder):
    meta = metafile(folder)
    collections = {collection['Name'] for collection in meta['Collections']}
    assert {model['In Collection'] for model in meta['Models']} == collections
    for collection in meta['Collections']:
        assert collection['README'] == f'configs/{folder}/README.md'
    for model in meta['Models']:
        assert model['Config'] == f'configs/{folder}/{model["Name"]}.py'
        assert 'Weights' not in model  # none are published
    assert sorted(f'{model["Name"]}.py' for model in meta['Models']) == configs_of(folder)


@pytest.mark.parametrize('folder', FOLDERS)
def test_metafile_repeats_the_schedule_of_the_config(folder):
    for model in metafile(folder)['Models']:
        cfg = load(model['Config'].removeprefix('configs/'))
        assert cfg.train_cfg.max_epochs == model['Metadata']['Epochs'], model['Name']
        batch = cfg.auto_scale_lr.base_batch_size
        assert batch == model['Metadata']['Batch Size'], model['Name']
        gpus = re.search(r'_(\d+)xb(\d+)', model['Name'])
        if gpus:
            assert int(gpus[2]) == cfg.train_dataloader.batch_size, model['Name']
            assert int(gpus[1]) * int(gpus[2]) == batch, model['Name']
        epochs = re.search(r'-(\d+)e_', model['Name'])
        assert not epochs or int(epochs[1]) == cfg.train_cfg.max_epochs, model['Name']


@pytest.mark.parametrize('folder', FOLDERS)
def test_readme_lists_every_config_once(folder):
    linked = re.findall(r'\]\(([\w-]+\.py)\)', readme(folder))
    assert sorted(linked) == configs_of(folder)


@pytest.mark.parametrize('folder', FOLDERS)
def test_readme_marks_what_was_trained(folder):
    trained = set()
    for row in re.findall(r'^\|.*\]\([\w-]+\.py\).*$', readme(folder), re.M):
        name = re.search(r'\(([\w-]+)\.py\)', row)[1]
        assert ('*trained by us*' in row) != ('*not yet*' in row), name
        figures = [cell for cell in row.split('|') if re.fullmatch(r' \d+\.\d ', cell)]
        assert bool(figures) == ('*trained by us*' in row), name
        trained |= {name} if figures else set()
    assert all(name.endswith(('voc2012-6cls', 'cifar10')) for name in trained)
    for model in metafile(folder)['Models']:
        assert 'Results' not in model or model['Name'] in trained, model['Name']


@pytest.mark.parametrize('folder', FOLDERS)
def test_results_of_the_metafile_are_those_of_the_readme(folder):
    for model in metafile(folder)['Models']:
        row = re.search(rf'^.*\({re.escape(model["Name"])}\.py\).*$', readme(folder), re.M)[0]
        cells = [cell.strip() for cell in row.split('|')]
        for result in model.get('Results', ()):
            figures = [str(value) for value in result['Metrics'].values()]
            assert [cell for cell in cells if cell in figures] == figures


@pytest.mark.parametrize('folder', ['', *FOLDERS])
def test_links_and_paths_of_readmes_exist(folder):
    text = readme(folder)
    for link in re.findall(r'\]\((?!http)([^)#]+)', text):
        assert (CONFIGS / folder / link).exists(), link
    for path in re.findall(r'(?<![\w/.])configs/[\w./-]+\.py', text):
        assert (ROOT / path).is_file(), path


@pytest.mark.parametrize('folder', ['', *FOLDERS])
def test_anchors_of_readmes_exist(folder):
    for page, anchor in re.findall(r'\]\((?!http)([^)#]*\.md)#([\w-]+)\)', readme(folder)):
        target = (CONFIGS / folder / page).read_text('utf-8')
        headings = re.findall(r'^#+ (.+)$', target, re.M)
        anchors = {re.sub(r'[^\w -]', '', h.lower()).replace(' ', '-') for h in headings}
        assert anchor in anchors, anchor


@pytest.mark.parametrize('folder', ['', *FOLDERS])
def test_commands_of_readmes_name_tools_and_options_that_exist(folder):
    for block in re.findall(r'```bash\n(.*?)```', readme(folder), re.S):
        for words in split(block):
            check(words)


def test_config_of_the_readme_overrides_the_budget(tmp_path):
    (block,) = re.findall(r'```python\n(.*?)```', readme(''), re.S)
    path = tmp_path / 'mine.py'
    path.write_text(block)
    cfg = Config.fromfile(path)
    assert cfg.default_hooks.pruning.budget == dict(type='ParamsBudget', keep_ratio=0.3)
    assert cfg.default_hooks.pruning.prune_steps == 30


@pytest.mark.parametrize('folder', FOLDERS)
def test_configs_are_found_by_name(folder):
    for name in configs_of(folder):
        assert Path(config_path(f'{folder}/{name}')).samefile(CONFIGS / folder / name)


def test_config_is_inherited_by_name(tmp_path):
    path = tmp_path / 'mine.py'
    name = 'ssd/ssd512_r50_adasap-params20_8xb16-800e_voc0712.py'
    path.write_text(f"_base_ = 'adasap_det::{name}'\n")
    assert Config.fromfile(path).default_hooks == load(name).default_hooks


def test_pruned_configs_start_from_a_dense_config_of_their_folder():
    for path in CONFIGS.rglob('*.py'):
        start = re.search(
            r"^load_from = 'work_dirs/([^/]+)/epoch_(\d+)\.pth'", path.read_text(), re.M
        )
        if start:
            dense = load(f'{path.parent.name}/{start[1]}.py')
            assert dense.train_cfg.max_epochs == int(start[2]), path
