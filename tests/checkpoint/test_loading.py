import pytest
import torch
from mmengine.config import Config

from adasap_det.checkpoint.loading import build_model, load_model, save_pruned
from adasap_det.checkpoint.structure import describe
from adasap_det.pruning import MagnitudeImportance, ParamsBudget, Pruner, count_params
from adasap_det.pruning.graph.tracing import example_image

from ..helpers.training_runs import TinyNet

SIZE = (6, 6)


@pytest.fixture
def cfg():
    return Config(dict(model=dict(type='TinyNet'), default_scope='mmengine'))


def test_dense_and_pruned_checkpoints(cfg, tmp_path):
    trained = TinyNet()
    torch.save({'state_dict': trained.state_dict(), 'meta': {'dataset_meta': {'classes': 'ab'}}},
               tmp_path / 'dense.pth')  # fmt: skip
    model, meta = load_model(cfg, tmp_path / 'dense.pth')
    assert not model.training
    assert all(torch.equal(t, trained.state_dict()[n]) for n, t in model.state_dict().items())
    pruner = Pruner(
        model,
        example_image(SIZE),
        importance=MagnitudeImportance(),
        budget=ParamsBudget(keep_ratio=0.5),
    )
    result = pruner.prune()
    save_pruned(tmp_path / 'pruned.pth', model, meta=meta)
    again, meta = load_model(cfg, tmp_path / 'pruned.pth')
    assert count_params(again) == result.cost
    assert all(torch.equal(t, model.state_dict()[n]) for n, t in again.state_dict().items())
    assert meta['adasap_det'] == describe(model) == describe(again)
    assert again.dataset_meta == {'classes': 'ab'}
    torch.load(tmp_path / 'pruned.pth', weights_only=True)
    assert not list(tmp_path.glob('*.tmp'))


def test_separate_data_preprocessor_is_used():
    """As MMEngine's runner has it; mmpretrain's configs normalise there."""
    beside = dict(type='ImgDataPreprocessor', mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0])
    cfg = Config(
        dict(model=dict(type='TinyNet'), data_preprocessor=beside, default_scope='mmengine')
    )
    model = build_model(cfg)
    assert model.data_preprocessor.mean.flatten().tolist() == [1.0, 2.0, 3.0]
    assert 'data_preprocessor' not in cfg.model
    inside = dict(beside, mean=[7.0, 8.0, 9.0])
    cfg.model = dict(type='TinyNet', data_preprocessor=inside)
    assert build_model(cfg).data_preprocessor.mean.flatten().tolist() == [7.0, 8.0, 9.0]


def test_checkpoint_of_another_model_is_an_error(cfg, tmp_path):
    torch.save({'state_dict': {'other.weight': torch.zeros(2)}}, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=r'other\.pth lacks .* is this the config'):
        load_model(cfg, tmp_path / 'other.pth')
