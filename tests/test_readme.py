import re
from pathlib import Path

from mmengine.config import Config

import adasap_det
from adasap_det.hooks import PruningHook

README = (Path(__file__).parents[1] / 'README.md').read_text('utf-8')


def test_the_config_of_ten_lines_is_one(tmp_path):
    block = re.search(r'```python\n(.*?)```', README, re.S).group(1)
    assert len(block.splitlines()) <= 10
    path = tmp_path / 'my_config.py'
    path.write_text(block)
    cfg = Config.fromfile(path)
    assert cfg.optim_wrapper.type == 'AdaSAPOptimWrapper'
    assert cfg.optim_wrapper.optimizer.type == 'SGD'  # mmdet's own
    options = dict(cfg.custom_hooks[0])
    assert options.pop('type') == 'PruningHook'
    assert PruningHook(**options).budget.keep_ratio == 0.4


def test_configs_inherit_by_the_two_names(tmp_path):
    by_name, by_path = re.findall(r"_base_ = (?:'adasap_det::|__import__).*?(?=['`]?\n|`)", README)
    for number, base in enumerate((by_name + "'", by_path)):
        path = tmp_path / f'downstream{number}.py'
        path.write_text(base)
        assert Config.fromfile(path).optim_wrapper.type == 'AdaSAPOptimWrapper'


def test_every_config_of_the_table_is_there():
    rows = re.findall(r'^\| `configs/([\w]+_)(?:\*|\{dense,pruned,adasap\})\.py`', README, re.M)
    assert len(rows) == 6
    for prefix in rows:
        for twin in ('dense', 'pruned', 'adasap'):
            assert Path(adasap_det.config_path(f'{prefix}{twin}.py')).is_file()


def test_commands_name_files_that_exist():
    for path in set(
        re.findall(r'(?<![\w/])((?:tools|configs|benchmarks)/[\w./]+\w\.(?:py|md))', README)
    ):
        assert (Path(__file__).parents[1] / path).is_file(), path
