import re
from pathlib import Path

import pytest
from mmengine.config import Config

from adasap_det.hooks import PruningHook

ROOT = Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text('utf-8')
PAGES = ('README.md', 'docs/results.md', 'docs/robustness.md')


def test_readme_has_at_most_900_words():
    assert len(README.split()) <= 900


def test_ten_line_config_builds_the_pruning_hook(tmp_path):
    block = re.search(r'```python\n(.*?)```', README, re.S).group(1)
    assert len(block.splitlines()) <= 10
    path = tmp_path / 'my_config.py'
    path.write_text(block)
    cfg = Config.fromfile(path)
    assert cfg.optim_wrapper.type == 'AdaSAPOptimWrapper'
    assert cfg.optim_wrapper.optimizer.type == 'SGD'  # mmdet's own
    options = dict(cfg.default_hooks.pruning)
    assert options.pop('type') == 'PruningHook'
    assert PruningHook(**options).budget.keep_ratio == 0.4
    assert cfg.default_hooks.checkpoint.type == 'CheckpointHook'  # of the base config


def test_readme_command_overrides_the_budget_by_name(tmp_path):
    block = re.search(r'```python\n(.*?)```', README, re.S).group(1)
    path = tmp_path / 'my_config.py'
    path.write_text(block)
    cfg = Config.fromfile(path)
    ((key, value),) = re.findall(r'--cfg-options (\S+)=(\S+)', README)
    cfg.merge_from_dict({key: float(value)})
    options = dict(cfg.default_hooks.pruning)
    del options['type']
    assert PruningHook(**options).budget.keep_ratio == float(value) != 0.4


def test_configs_inherit_by_name_and_by_path(tmp_path):
    guide = ''.join(path.read_text('utf-8') for path in sorted((ROOT / 'docs').glob('*.md')))
    by_name = re.search(r"_base_ = 'adasap_det::.*_?adasap\S*\.py'", guide).group()
    by_path = re.search(r'_base_ = __import__[^`\n]*', guide).group()
    for number, base in enumerate((by_name, by_path)):
        path = tmp_path / f'downstream{number}.py'
        path.write_text(base)
        assert Config.fromfile(path).optim_wrapper.type == 'AdaSAPOptimWrapper'


@pytest.mark.parametrize('page', PAGES)
def test_commands_name_files_that_exist(page):
    named = re.findall(
        r'(?<![\w/])((?:tools|configs|benchmarks)/[\w./-]+\w\.(?:py|md))',
        (ROOT / page).read_text('utf-8'),
    )
    for path in set(named):
        assert (ROOT / path).is_file(), path


def test_links_of_the_readme_lead_to_files():
    linked = set(re.findall(r'\]\((?!https?://)([^)#]+)', README))
    assert len(linked) > 10
    for path in linked:
        assert (ROOT / path).exists(), path


def test_result_table_repeats_the_recorded_results():
    benchmarks = (ROOT / 'benchmarks/README.md').read_text('utf-8')
    rows = re.findall(r'^\| (?:dense \(100|pruned|AdaSAP).*\|$', README, re.M)
    assert len(rows) == 4
    for row in rows:
        for cell in row.split('|')[3:-1]:
            assert cell.strip().strip('*') in benchmarks, (row, cell)
