"""adasap-plot-landscape: the loss around checkpoints, a pruned one among them."""

import json
import re

import pytest
import torch
from mmengine.config import Config

from adasap_det.checkpoint.loading import load_model
from adasap_det.cli import plot_landscape, plot_landscape_command, prune
from adasap_det.cli.usage import UsageError
from adasap_det.utils.losses import mean_loss, some_batches


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['--points', '20'], ['--points', 'odd', '20']),
        (['--points', '1'], ['--points', 'at least 3']),
        (['--radius', '0'], ['--radius', '0.0']),
        (['--radius', 'nan'], ['--radius', 'nan']),
        (['--batches', '0'], ['--batches', 'at least 1']),
        (['--directions', '0'], ['--directions', 'at least 1']),
        (['--iterations', '0'], ['--iterations', 'at least 1']),
        (['--seed', '-1'], ['--seed', '-1']),
        (['--names', 'one', 'two'], ['--names', '2 names', '1 checkpoints']),
        ([], ["checkpoint 'none.pth' does not exist"]),
    ],
)
def test_usage_errors_are_one_line(config, capsys, options, words):
    assert plot_landscape.main([str(config), 'none.pth', *options]) == 2
    err = capsys.readouterr().err
    assert err.count('\n') == 1
    for word in words:
        assert word in err


def names(*checkpoints, options=()):
    args = plot_landscape._parser().parse_args(['config.py', *checkpoints, *options])
    return plot_landscape_command._names(args)


def test_names_are_file_stems_unless_equal():
    assert names('a/one.pth', 'b/two.pth') == ['one', 'two']
    assert names('runs/a/last.pth', 'runs/b/last.pth') == ['a/last', 'b/last']
    assert names('a/one.pth', 'b/two.pth', options=['--names', 'A', 'B']) == ['A', 'B']
    with pytest.raises(UsageError, match=r"two checkpoints are called 'a/last'"):
        names('x/a/last.pth', 'y/a/last.pth')


@pytest.mark.slow
def test_compares_a_dense_and_a_pruned_checkpoint(config, untrained, tmp_path, capsys):
    options = ['--keep-ratio', '0.5', '--round-to', '8', '--input-size', '96', '96']
    assert prune.main([str(config), str(untrained), *options, '--out', str(tmp_path)]) == 0
    pruned = tmp_path / 'dense_pruned.pth'
    out = tmp_path / 'seen'
    options = ['--points', '5', '--radius', '0.5', '--directions', '1', '--batches', '2', '--plane']
    options += ['--iterations', '2', '--cfg-options', 'train_dataloader.batch_size=2']
    capsys.readouterr()
    assert plot_landscape.main([str(config), str(untrained), str(pruned), *options,
                                '--out', str(out)]) == 0  # fmt: skip
    captured = capsys.readouterr()
    files = [out / f'landscape{end}' for end in ('.json', '.svg', '_plane.svg')]
    assert captured.out.splitlines()[-3:] == [str(path) for path in files]
    assert sorted(out.iterdir()) == sorted(files)

    found = json.loads(files[0].read_text())
    assert found['steps'] == [-0.5, -0.25, 0, 0.25, 0.5]
    assert (found['batches'], found['seed']) == (2, 0)
    dense, small = found['checkpoints']
    assert (dense['name'], small['name']) == ('dense', 'dense_pruned')
    assert small['params'] < 0.51 * dense['params']
    assert small['line'] != dense['line']
    cfg = Config.fromfile(config)
    cfg.train_dataloader.batch_size = 2
    batches = some_batches(cfg, 2)
    for each in found['checkpoints']:
        (curve,) = each['line']
        assert len(curve) == 5
        # The weights themselves are in the middle, and the line is a row of the plane.
        model, _ = load_model(cfg, each['checkpoint'])
        assert each['loss'] == curve[2] == mean_loss(model, batches)
        assert [row[2] for row in each['plane']] == curve
        assert each['rise'] == [
            {'step': step, 'rise': pytest.approx((left + right) / 2 - each['loss'])}
            for step, left, right in ((0.25, curve[1], curve[3]), (0.5, curve[0], curve[4]))
        ]
        eigenvalue = each['eigenvalue']
        assert eigenvalue['iterations'] in (1, 2, 3, 4)
        row = re.search(rf'│ {each["name"]} +│(.*)', captured.err).group(1)
        cells = [cell.strip() for cell in row.strip('│').split('│')]
        sign = '' if eigenvalue['converged'] else '≥ '
        assert cells[1] == f'{each["loss"]:.3f}'
        assert cells[2] == f'{each["rise"][0]["rise"]:.3g}'
        assert cells[-1] == f'{sign}{eigenvalue["value"]:.4g}'
    for path in files[1:]:
        labels = re.findall(r'<!-- (.*?) -->', path.read_text())
        assert {'dense', 'dense_pruned', 'loss'} <= set(labels)


@pytest.mark.slow
def test_equal_seeds_give_equal_files_without_an_eigenvalue(config, untrained, tmp_path):
    options = ['--points', '3', '--batches', '1', '--directions', '2', '--no-eigenvalue']
    seen = []
    for folder, seed in (('one', '0'), ('two', '0'), ('three', '1')):
        out = tmp_path / folder
        assert plot_landscape.main([str(config), str(untrained), *options, '--seed', seed,
                                    '--out', str(out)]) == 0  # fmt: skip
        (each,) = json.loads((out / 'landscape.json').read_text())['checkpoints']
        assert each['eigenvalue'] is None and each['plane'] is None
        assert not (out / 'landscape_plane.svg').exists()
        seen.append(each['line'])
    assert seen[0] == seen[1] != seen[2]
    assert len(seen[0]) == 2 and seen[0][0] != seen[0][1]


@pytest.mark.slow
def test_diverged_checkpoint_is_a_one_line_error(config, untrained, tmp_path, capsys):
    content = torch.load(untrained, weights_only=True)
    content['state_dict']['bbox_head.cls_convs.0.0.conv.weight'].fill_(float('nan'))
    torch.save(content, untrained)
    out = tmp_path / 'seen'
    assert plot_landscape.main([str(config), str(untrained), '--out', str(out)]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r'error: the loss of checkpoint .*dense\.pth is nan', last)
    assert not out.exists()
