import sys

import pytest
import torch
from torch import nn

from adasap_det import Pruner, load_pruned, structure_metadata
from adasap_det.checkpoint.structure import describe
from adasap_det.pruning import MagnitudeImportance, ParamsBudget


class TiedNet(nn.Module):
    """A convolution under two names, both of which a state dict has."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.out = self.tied = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        x = self.first(x).relu()
        return self.out(x) + self.tied(x.square())


@pytest.fixture
def pruned():
    model = TiedNet().eval()
    Pruner(
        model,
        torch.rand(1, 3, 6, 6),
        importance=MagnitudeImportance(),
        budget=ParamsBudget(keep_ratio=0.5),
    ).prune()
    return model


def test_a_safetensors_file_carries_the_structure(pruned, tmp_path):
    safetensors = pytest.importorskip('safetensors.torch')
    path = tmp_path / 'pruned.safetensors'
    safetensors.save_model(pruned, str(path), metadata=structure_metadata(pruned))
    image = torch.rand(2, 3, 6, 6)
    dense = load_pruned(TiedNet().eval(), path)
    assert torch.equal(dense(image), pruned(image))
    assert describe(dense) == describe(pruned)
    safetensors.save_file(
        {name: t.clone() for name, t in nn.DataParallel(pruned).state_dict().items()},
        path,
        metadata=structure_metadata(nn.DataParallel(pruned)),
    )
    assert torch.equal(load_pruned(TiedNet().eval(), path)(image), pruned(image))


def test_a_safetensors_file_without_the_structure_says_so(pruned, tmp_path):
    safetensors = pytest.importorskip('safetensors.torch')
    safetensors.save_model(pruned, str(tmp_path / 'pruned.safetensors'))
    with pytest.raises(ValueError, match='it has no mark'):
        load_pruned(TiedNet(), tmp_path / 'pruned.safetensors')


def test_a_dense_model_has_no_metadata():
    assert structure_metadata(TiedNet()) == {}


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'safetensors', None)
    with pytest.raises(ImportError, match=r'x\.safetensors needs .* pip install safetensors'):
        load_pruned(TiedNet(), 'x.safetensors')
