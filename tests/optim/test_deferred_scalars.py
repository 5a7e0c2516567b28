import pytest
import torch
from mmengine.logging import MessageHub

from adasap_det.optim.deferred_scalars import FLUSH_INTERVAL, DeferredScalars


@pytest.fixture
def hub():
    return MessageHub('test_deferred_scalars')


def test_on_the_cpu_scalars_are_handed_over_at_once(hub):
    DeferredScalars(hub).add(rise=torch.tensor(0.25), rho=torch.tensor(2))
    assert hub.get_scalar('train/rise').current() == 0.25
    assert hub.get_scalar('train/rho').current() == 2.0


def test_elsewhere_nothing_is_read_before_the_last_iteration_of_ten(hub):
    """Values on the meta device cannot be read at all."""
    scalars = DeferredScalars(hub)
    for iteration in range(FLUSH_INTERVAL - 1):
        hub.update_info('iter', iteration)
        scalars.add(rise=torch.zeros((), device='meta'))
        scalars.end_iteration()
    hub.update_info('iter', FLUSH_INTERVAL - 1)
    scalars.add(rise=torch.zeros((), device='meta'))
    with pytest.raises(Exception, match='meta'):
        scalars.end_iteration()


def test_values_of_several_iterations_keep_their_order(hub):
    scalars = DeferredScalars(hub)
    scalars._names, scalars._values = (
        ['train/rise', 'train/rise'],
        [torch.ones(()), torch.zeros(())],
    )
    scalars.flush()
    assert hub.get_scalar('train/rise').data[0].tolist() == [1.0, 0.0]
    scalars.flush()
    assert len(hub.get_scalar('train/rise').data[0]) == 2
