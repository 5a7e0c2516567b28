"""Records of the studies: merging into the file, collecting from the folders of the runs."""

import json

from adasap_det.robustness import results as cells
from adasap_det.robustness.metrics import FULL_GRID


def test_merge_keeps_earlier_records_and_replaces_repeated_runs(script, record, tmp_path):
    records = script('records')
    path = tmp_path / 'results' / 'found.json'
    first = [record('plain', 0, 20.0, loss=0.5), record('AdaSAP', 0, 19.0)]
    assert records.merge(path, first) == first
    again, other = record('AdaSAP', 0, 21.0), record('AdaSAP', 1, 23.0)
    assert records.merge(path, [again, other]) == [first[0], again, other]
    assert len(json.loads(path.read_text())) == 3
    assert records.merge(path, []) == [first[0], again, other]
    assert records.read(path) == [first[0], again, other]


def evaluated(folder, *, params, ap50):
    """Write an evaluation whose cells have AP50 ``ap50``, divided by 1 + severity."""
    cells.save_model(
        folder,
        cells.ModelInfo(
            name='n', config='c.py', checkpoint='epoch_2.pth', checkpoint_sha256='0' * 64,
            params=params, macs=7, input_size=(8, 8), latency_ms=None, device=None,
            dataset=cells.DatasetInfo('VOCDataset', 'val.txt', 3, ('a',)),
        ),
    )  # fmt: skip
    for name, severity in ((None, 0), *FULL_GRID):
        value = ap50 if name is None else ap50 / (1 + severity)
        cells.save_cell(folder, cells.Cell(name, severity, 'x', 3, {'AP50': value}))


def test_collect_reads_the_evaluation_in_the_given_folder(script, tmp_path):
    records = script('records')
    run = records.Run('net', 0.4, 'AdaSAP', 3)
    for folder, params in (('net/dense', 20), (run.folder, 8)):
        log = tmp_path / folder / 'start/vis_data/scalars.json'
        log.parent.mkdir(parents=True)
        log.write_text('{"loss": 2.0}\n{"loss": 1.0, "AP": 0.5}\n')
        (tmp_path / folder / 'epoch_2.pth').write_bytes(folder.encode())
        evaluated(tmp_path / folder / 'robustness', params=params, ap50=0.6)
    evaluated(tmp_path / run.folder / 'unseen', params=8, ap50=0.3)

    metric = records.Metric('AP50', 'AP', logged_as_fraction=True, last_losses=2)
    dense, pruned = records.collect('net', [run], tmp_path, metric, dense_seed=4)
    assert (dense.arm, dense.seed) == ('dense', 4)
    # The mean of 1/2, 1/3, 1/4, 1/5 and 1/6 is 0.29.
    assert (dense.p, dense.mpc, dense.params, dense.clean) == (60.0, 17.4, 20, 50.0)
    assert pruned.severities == (30.0, 20.0, 15.0, 12.0, 10.0)
    assert pruned.key == (dense.dense, 'net', 0.4, 'AdaSAP', 3)
    assert (pruned.params, pruned.macs, pruned.loss) == (8, 7, 1.5)

    # Without an evaluation of the dense network there is nothing to compare with.
    assert records.collect('net', [run], tmp_path, metric, results='unseen') == []
    evaluated(tmp_path / 'net/dense/unseen', params=20, ap50=0.5)
    found = records.collect('net', [run], tmp_path, metric, results='unseen')
    assert [(one.arm, one.p, one.mpc, one.clean) for one in found] == [
        ('dense', 50.0, 14.5, 50.0), ('AdaSAP', 30.0, 8.7, 50.0),
    ]  # fmt: skip
