import pytest
import torch

from adasap_det.utils.device import usable_device


def test_cpu_is_always_available():
    assert usable_device('cpu') == torch.device('cpu')


@pytest.mark.parametrize('name', ['cuda', 'cuda:0', 'cuda:1'])
def test_available_gpu(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    assert usable_device(name) == torch.device(name)


@pytest.mark.parametrize(
    ('name', 'gpus', 'words'),
    [
        ('gpu', 0, ["'gpu'", 'cpu, cuda']),
        ('mps', 0, ["'mps'", 'cpu, cuda']),
        ('cuda', 0, ["'cuda'", 'finds no GPU', "'cpu'"]),
        ('cuda:2', 2, ["'cuda:2'", "'cuda:1'"]),
    ],
)
def test_error_names_unavailable_devices(name, gpus, words, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: gpus)
    with pytest.raises(ValueError) as error:
        usable_device(name)
    for word in words:
        assert word in str(error.value)
