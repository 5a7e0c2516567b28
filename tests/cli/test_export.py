"""adasap-export: ONNX files that are checked against the detector."""

import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from adasap_det.cli import export, export_command
from adasap_det.export.onnx import onnx_outputs, onnx_session

from ..helpers.frozen_batch import FrozenBatch
from ..helpers.lively import make_lively

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')


@pytest.fixture
def checkpoint(config, tmp_path):
    init_default_scope('mmdet')
    model = MODELS.build(Config.fromfile(config).model)
    make_lively(model, (96, 96))
    path = tmp_path / 'random.pth'
    meta = {'dataset_meta': {'classes': ('circle', 'square')}}
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, path)
    return str(path)


@pytest.mark.parametrize('options', [[], ['--nms'], ['--dynamic-batch']])
def test_exports_file_with_metadata(config, checkpoint, tmp_path, capsys, options):
    cv2.imwrite(
        str(tmp_path / 'photo.png'),
        np.random.default_rng(0).integers(0, 255, (80, 120, 3), dtype=np.uint8),
    )
    out = tmp_path / 'net.onnx'
    size = ['--input-size', '96', '128', '--image', str(tmp_path / 'photo.png')]
    assert export.main([str(config), checkpoint, str(out), *size, *options]) == 0
    assert 'largest difference from PyTorch' in capsys.readouterr().out
    known = json.loads((tmp_path / 'net.json').read_text())
    assert known['classes'] == ['circle', 'square']
    batch = 'batch' if '--dynamic-batch' in options else 1
    assert known['input']['shape'] == [batch, 3, 96, 128]
    found = onnx_outputs(onnx_session(out), torch.zeros(1, 3, 96, 128))
    assert len(found) == len(known['outputs'])
    if options == ['--nms']:
        assert known['outputs'] == ['boxes', 'scores', 'labels']


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['--nms', '--dynamic-batch'], ['--nms is for one image']),
        (['--opset', '11'], ['--opset must be at least 17']),
        ([], ['give --input-size H W']),
        (['--input-size', '96', '96', '--image', 'none.jpg'], ["'none.jpg' cannot be read"]),
    ],
)
def test_usage_errors_are_one_line(config, checkpoint, tmp_path, capsys, options, words):
    assert export.main([str(config), checkpoint, str(tmp_path / 'net.onnx'), *options]) == 2
    err = capsys.readouterr().err
    for word in words:
        assert word in err.splitlines()[-1]


def test_differing_file_is_an_error(config, checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(export_command, 'check', lambda *_: (0.5, ''))
    options = ['--input-size', '96', '96']
    assert export.main([str(config), checkpoint, str(tmp_path / 'net.onnx'), *options]) == 2
    assert 'differs from PyTorch by 0.5' in capsys.readouterr().err


@pytest.fixture
def untrained(config, tmp_path):
    """A network whose scores are all the same but for rounding."""
    init_default_scope('mmdet')
    torch.manual_seed(0)
    path = tmp_path / 'untrained.pth'
    torch.save({'state_dict': MODELS.build(Config.fromfile(config).model).state_dict()}, path)
    return str(path)


@pytest.mark.parametrize(
    ('threshold', 'words'),
    [(0.0, ', 20 detections compared\n'), (0.99, ', 0 detections compared: give --image')],
)
def test_detections_with_equal_scores_or_none(
    config, untrained, tmp_path, capsys, threshold, words
):
    config.write_text(config.read_text() + f"model['test_cfg']['score_thr'] = {threshold}\n")
    command = [str(config), untrained, str(tmp_path / 'net.onnx'), '--input-size', '96', '96']
    assert export.main([*command, '--nms']) == 0
    assert words in capsys.readouterr().out


# With -1 the values of all images land in the channels; with 3 they do not fit.
@pytest.mark.parametrize('channels', [-1, 3])
def test_fixed_batch_size_is_detected(config, checkpoint, tmp_path, capsys, monkeypatch, channels):
    monkeypatch.setattr(export_command, 'make_graph', lambda *_, **__: FrozenBatch(channels))
    command = [str(config), checkpoint, str(tmp_path / 'net.onnx'), '--input-size', '8', '8']
    assert export.main(command) == 0
    assert export.main([*command, '--dynamic-batch']) == 2
    captured = capsys.readouterr()
    assert 'on a batch of 3, more than 0.001; do not deploy it; export without' in captured.err
    assert ('onnxruntime: ' in captured.err) == (channels == 3)


def test_missing_packages_error_names_the_remedy(config, monkeypatch, capsys):
    monkeypatch.setattr(export_command, 'find_spec', lambda name: None)
    assert export.main([str(config), 'none.pth', 'net.onnx']) == 2
    assert "onnx is not installed: pip install 'adasap-det[export]'" in capsys.readouterr().err
