import pytest
from torch import nn

from adasap_det.optim import AdaSAPOptimWrapper
from adasap_det.optim.sharding import check_not_sharded

from .test_optim_wrapper import sgd, toy


class FullyShardedDataParallel(nn.Module):
    """A class of that name; only the name is checked."""


class MMFullyShardedDataParallel(FullyShardedDataParallel):
    pass


class DeepSpeedEngine(nn.Module):
    pass


@pytest.mark.parametrize(
    ('wrapped', 'name'), [(MMFullyShardedDataParallel(), 'FSDP'), (DeepSpeedEngine(), 'DeepSpeed')]
)
def test_sharded_parameters_are_an_error(wrapped, name):
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(toy()))
    with (
        pytest.raises(RuntimeError, match=rf'not train through {name}: .* flattened'),
        wrapper.optim_context(wrapped),
    ):
        pass


def test_class_names_match_torch_and_mmengine():
    from mmengine.model import MMFullyShardedDataParallel as OfMMEngine

    with pytest.raises(RuntimeError, match='FSDP'):
        check_not_sharded(OfMMEngine.__new__(OfMMEngine))


def test_unsharded_models_are_accepted():
    check_not_sharded(toy())
