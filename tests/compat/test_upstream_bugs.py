"""Bugs of other packages, listed in docs/upstream_bugs.md, shown without our workarounds.

A failing test is good news: the installed version no longer has the bug. Once it is the oldest
supported version, the workaround named in the message can be removed.
"""

from __future__ import annotations

import copy
import inspect
import os
import re
import subprocess
import sys
import warnings
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dist import init_dist
from mmengine.fileio import LocalBackend
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from mmengine.runner import (
    Runner,
    find_latest_checkpoint,
    turn_on_activation_checkpointing,
)
from mmengine.runner._flexible_runner import FlexibleRunner
from mmengine.visualization import Visualizer
from torch import nn

from adasap_det.checkpoint.atomic_backend import AtomicBackend
from tests.helpers.training_runs import tiny_config, train

ROOT = Path(__file__).parents[2]
LIST = ROOT / 'docs' / 'upstream_bugs.md'


@contextmanager
def still_there(workaround: str):
    """Turn a failed check of a bug into the message that it was fixed."""
    try:
        yield
    except (AssertionError, pytest.fail.Exception) as error:
        pytest.fail(
            f'the installed version no longer has this bug: drop the workaround, {workaround}, '
            f'where no older version is supported, and its entry in docs/upstream_bugs.md. {error}'
        )


def alone(code: str, *, timeout: float = 120) -> subprocess.CompletedProcess:
    """Run Python code without importing our package."""
    code = f'{code}\nimport sys; assert "adasap_det" not in sys.modules'
    return subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )


# ------------------------------------------------------------------ MMDetection


def test_ssd_head_cannot_predict():
    from mmdet.models import SSDHead

    from .test_mmdet_fixes import small_head

    class Released(SSDHead):
        __init__ = inspect.unwrap(SSDHead.__init__)

    head = small_head(Released)
    meta = dict(img_shape=(32, 32), scale_factor=(1.0, 1.0))
    with (
        torch.no_grad(),
        still_there('adasap_det/compat/mmdet_fixes.py, let_ssd_head_predict'),
        pytest.raises(AttributeError, match='loss_cls'),
    ):
        outputs = head((torch.zeros(1, 4, 2, 2),))
        head.predict_by_feat(*outputs, batch_img_metas=[meta], cfg=head.test_cfg, rescale=False)


def test_boxes_cannot_be_decoded_for_an_exporter(monkeypatch):
    from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder

    monkeypatch.setattr('torch.onnx.is_in_onnx_export', lambda: True)
    coder = DeltaXYWHBBoxCoder()
    with (
        still_there('adasap_det/export/graphs.py, the clipping in DecodedDetector.candidates'),
        pytest.raises(ModuleNotFoundError, match=r'mmdet\.core'),
    ):
        coder.decode(torch.zeros(1, 2, 4), torch.zeros(1, 2, 4), max_shape=(8, 8))


@pytest.mark.parametrize('package', ['mmdet.models.backbones.swin', 'mmpretrain.models.utils'])
def test_swin_keeps_the_number_of_images(package):
    attention = pytest.importorskip(package).ShiftWindowMSA
    arguments = (2,) if isinstance(vars(attention)['window_reverse'], staticmethod) else ()

    def reverse(windows):
        if arguments:
            return attention.window_reverse(windows, 4, 4, *arguments)
        return attention.window_reverse(SimpleNamespace(window_size=2), windows, 4, 4)

    def windows(images):
        return torch.arange(16.0 * images).view(4 * images, 2, 2, 1)

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        traced = torch.jit.trace(reverse, windows(1), check_trace=False)
    assert torch.equal(traced(windows(1)), reverse(windows(1)))
    with still_there('adasap_det/cli/export_command.py, the sentence on Swin in docs/supported.md'):
        assert traced(windows(2)).shape != reverse(windows(2)).shape


def test_two_classes_of_imagenet_have_one_name():
    names = pytest.importorskip('mmpretrain.datasets.categories').IMAGENET_CATEGORIES
    with still_there('adasap_det/robustness/evaluation/class_names.py, distinct'):
        assert names[134] == names[517] == 'crane'


def test_a_broken_annotation_is_not_named(tmp_path):
    from mmdet.datasets import XMLDataset

    parse = inspect.unwrap(XMLDataset.parse_data_info)
    path = tmp_path / '000007.xml'
    path.write_text('<annotation>')
    dataset = SimpleNamespace(sub_data_root=str(tmp_path), backend_args=None)
    info = dict(img_id='000007', file_name='000007.jpg', xml_path=str(path))
    with pytest.raises(Exception) as raised:
        parse(dataset, info)
    with still_there('adasap_det/compat/annotation_errors.py'):
        assert '000007' not in str(raised.value)


def test_voc_metric_rounds():
    from mmdet.evaluation import VOCMetric

    metric = VOCMetric(iou_thrs=0.5, metric='mAP', eval_mode='area')
    metric.dataset_meta = dict(classes=('thing',), dataset_type='VOC2007')
    boxes = np.array([[0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9]], dtype=np.float32)
    truth = dict(
        bboxes=boxes,
        labels=np.zeros(3, dtype=np.int64),
        bboxes_ignore=np.empty((0, 4), dtype=np.float32),
        labels_ignore=np.empty(0, dtype=np.int64),
    )
    # One of three is found: the area below the curve is a third.
    found = [np.array([[0, 0, 9, 9, 0.9]], dtype=np.float32)]
    metrics = metric.compute_metrics([(truth, found)])
    assert metrics['AP50'] == pytest.approx(1 / 3, abs=1e-3)
    with still_there('adasap_det/robustness/evaluation/average_precision.py, AP50 of its own'):
        assert metrics['AP50'] == 0.333


def test_importing_metrics_warns_of_a_package_that_is_not_used():
    from mmdet.evaluation import metrics

    path = Path(metrics.__file__).with_name('faster_coco_metric.py')
    if not path.is_file() or find_spec('faster_coco_eval') is not None:
        pytest.skip('this MMDetection has no such metric, or all that it needs')
    with warnings.catch_warnings(record=True) as caught, suppress(KeyError):
        warnings.simplefilter('always')
        # Ends in a KeyError: the metric is registered already.
        exec(compile(path.read_text('utf-8'), str(path), 'exec'), {'__name__': 'again'})
    with still_there(
        "the filters of 'faster_coco_eval' in adasap_det/cli/test_robustness_command.py and "
        'pyproject.toml'
    ):
        assert any('faster_coco_eval' in str(warning.message) for warning in caught)


# ------------------------------------------------------------------ MMCV


def test_operators_cannot_be_imported_without_the_extension():
    if find_spec('mmcv') is None:
        pytest.skip('MMCV is not installed')
    done = alone(
        'import importlib.util, mmcv\n'
        'if importlib.util.find_spec("mmcv._ext"): print("COMPILED")\n'
        'else:\n'
        '    try: import mmcv.ops\n'
        '    except ModuleNotFoundError as error: print("MISSING", error.name)\n'
    )
    assert done.returncode == 0, done.stderr
    if 'COMPILED' in done.stdout:
        pytest.skip('this MMCV is compiled; the replacement is not used')
    with still_there('adasap_det/compat/mmcv_ops.py'):
        assert 'MISSING mmcv._ext' in done.stdout, done.stdout + done.stderr


# ------------------------------------------------------------------ MMEngine


def test_clip_grad_loses_its_type():
    clip_grad = dict(type='value', clip_value=1.0)
    OptimWrapper(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1), clip_grad=clip_grad)
    with still_there('adasap_det/optim/optim_wrapper.py, the copy of clip_grad'):
        assert 'type' not in clip_grad


def test_copies_with_activation_checkpointing_run_the_model():
    model = nn.Sequential(nn.Linear(1, 1, bias=False))
    turn_on_activation_checkpointing(model, ['0'])
    copied = copy.deepcopy(model)
    with torch.no_grad():
        model[0].weight.fill_(2.0)
        copied[0].weight.fill_(3.0)
    with still_there('adasap_det/utils/copy_unwrapped.py, copy_unwrapped'):
        assert copied(torch.ones(1, 1)).item() == 2.0


def test_log_history_does_not_load_with_weights_only():
    done = alone("""
import io, torch
from mmengine.logging import MessageHub

hub, file = MessageHub('upstream bugs'), io.BytesIO()
hub.update_scalar('train/loss', 1.0)
torch.save({'message_hub': hub.state_dict()}, file)
file.seek(0)
torch.load(file, weights_only=True)
""")
    with still_there('adasap_det/checkpoint/log_history.py and adasap_det/compat/log_histories.py'):
        assert 'UnpicklingError' in done.stderr and 'HistoryBuffer' in done.stderr


def test_files_are_written_in_place(tmp_path):
    path, same = tmp_path / 'epoch_1.pth', tmp_path / 'link.pth'
    path.write_bytes(b'old')
    os.link(path, same)
    LocalBackend().put(b'new', str(path))
    with still_there('adasap_det/checkpoint/atomic_backend.py'):
        # A process killed in between leaves neither the old content nor the new.
        assert same.read_bytes() == b'new'


@pytest.mark.parametrize('note', ['', 'gone.pth'])
def test_a_broken_note_of_the_last_checkpoint_is_believed(tmp_path, note):
    (tmp_path / 'last_checkpoint').write_text(note)
    with still_there('adasap_det/checkpoint/resume.py'):
        assert find_latest_checkpoint(str(tmp_path)) == note


def test_room_is_made_for_a_checkpoint_before_it_is_written(tmp_path, monkeypatch):
    there = []

    def save_checkpoint(self, *args, **kwargs):
        there.append(sorted(path.name for path in tmp_path.glob('*.pth')))
        return save(self, *args, **kwargs)

    save = Runner.save_checkpoint
    monkeypatch.setattr(Runner, 'save_checkpoint', save_checkpoint)
    hook = dict(type='CheckpointHook', interval=1, max_keep_ckpts=1)
    train(tiny_config(tmp_path, custom_hooks=[], default_hooks=dict(checkpoint=hook)))
    assert len(there) > 1 and sorted(tmp_path.glob('*.pth'))
    with still_there('adasap_det/cli/train_command.py, warn_of_a_single_checkpoint'):
        assert not any(there)


def test_ranks_without_a_gpu_ask_for_one(monkeypatch):
    class AskedForCudaError(Exception):
        pass

    def set_device(device):
        raise AskedForCudaError

    monkeypatch.setattr(torch.cuda, 'set_device', set_device)
    monkeypatch.setattr(torch.distributed, 'init_process_group', lambda **kwargs: None)
    for name, value in (('RANK', '0'), ('LOCAL_RANK', '0'), ('WORLD_SIZE', '1')):
        monkeypatch.setenv(name, value)
    with (
        still_there('adasap_det/cli/common.py, _start_on_cpu'),
        pytest.raises(AskedForCudaError),
    ):
        init_dist('pytorch', backend='gloo')


def test_a_second_visualizer_or_logger_of_a_name_is_the_first(tmp_path):
    name = f'upstream bugs {tmp_path}'
    log, same_log = (
        MMLogger.get_instance(name, log_file=str(tmp_path / f'{run}.log'))
        for run in ('first', 'second')
    )
    first, second = (
        Visualizer.get_instance(
            name, vis_backends=[dict(type='LocalVisBackend')], save_dir=str(tmp_path / folder)
        )
        for folder in ('first', 'second')
    )
    with still_there(
        'adasap_det/demo/runner.py, the name of the visualizer, and tests/conftest.py, '
        'no_names_of_earlier_runs'
    ):
        assert first is second and log is same_log
        assert not (tmp_path / 'second.log').exists()


@pytest.mark.parametrize(
    ('name', 'error'),
    [
        ('adasap_det::ssd_voc_adasap.py', ValueError),
        ('adasap_det::demo/x.py', AssertionError),
    ],
)
def test_configs_are_inherited_from_a_closed_list_of_packages(name, error):
    released = inspect.unwrap(Config._get_cfg_path)
    with still_there('adasap_det/compat/config_scope.py'), pytest.raises(error):
        released(name, 'my_config.py')


def test_flexible_runner_forgets_where_checkpoints_go(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(AtomicBackend, 'put', lambda self, obj, path: written.append(path))
    hook = dict(type='CheckpointHook', interval=1, backend_args=dict(backend='atomic'))
    cfg = tiny_config(tmp_path, custom_hooks=[], default_hooks=dict(checkpoint=hook), env_cfg={})
    cfg.strategy = dict(type='SingleDeviceStrategy')
    FlexibleRunner.from_cfg(cfg).train()
    with still_there('none yet; docs/upstream_bugs.md says that FlexibleRunner is not covered'):
        assert not written and list(tmp_path.glob('epoch_*.pth'))


# ------------------------------------------------------------------ imagecorruptions


def test_spatter_without_a_drop_is_nan(monkeypatch):
    from imagecorruptions.corruptions import spatter

    monkeypatch.setattr(np.random, 'normal', lambda size, **kwargs: np.zeros(size))
    with np.errstate(invalid='ignore'), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        seen = spatter(np.full((40, 40, 3), 128, np.uint8), severity=1)
    with still_there('adasap_det/robustness/corruptions/spatter.py, the last line of _water'):
        assert np.isnan(seen).any()


# ------------------------------------------------------------------ the list


def entries() -> dict[str, dict[str, str]]:
    """Entries of the list by title, each with its lines by their first word."""
    found = {}
    for section in re.split(r'^### ', LIST.read_text('utf-8'), flags=re.M)[1:]:
        title, _, body = section.partition('\n')
        body = re.split(r'^## ', body, flags=re.M)[0]
        found[title] = {
            key: re.sub(r'\s+', ' ', text).strip()
            for key, text in re.findall(r'^- (\w+): (.*?)(?=^- |\Z)', body, flags=re.M | re.S)
        }
    return found


@pytest.mark.parametrize('title', entries())
def test_the_list_names_what_there_is(title):
    entry = entries()[title]
    assert list(entry) == ['package', 'cause', 'workaround', 'test']
    files = re.findall(r'`([\w./]+\.(?:py|toml))`', entry['workaround'])
    assert files or entry['workaround'].startswith('none')
    assert all((ROOT / file).is_file() for file in files), files
    tests = re.findall(r'`([\w./]+\.py)::(test_\w+)`', entry['test'])
    assert tests or entry['test'].startswith('none')
    for file, name in tests:
        assert f'def {name}(' in (ROOT / file).read_text('utf-8')


def test_every_bug_shown_here_is_listed():
    shown = re.findall(r'^def (test_\w+)', Path(__file__).read_text('utf-8'), flags=re.M)
    listed = ' '.join(entry['test'] for entry in entries().values())
    own = ('test_the_list_names_what_there_is', 'test_every_bug_shown_here_is_listed')
    assert [name for name in shown if f'::{name}`' not in listed and name not in own] == []
