"""Batch norm statistics re-estimated from batches."""

import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.utils.data import DataLoader

from adasap_det import recalibrate
from adasap_det.utils.recalibration import running_norms


class Net(nn.Module):
    """Two norms, the second called twice, and dropout that would disturb the second."""

    def __init__(self):
        super().__init__()
        self.first = nn.BatchNorm2d(3, momentum=0.3)
        self.dropout = nn.Dropout(0.5)
        self.second = nn.BatchNorm2d(3, momentum=None)
        self.unused = nn.BatchNorm1d(4)
        self.untracked = nn.BatchNorm2d(3, track_running_stats=False)

    def forward(self, x):
        x = self.dropout(self.first(x))
        return self.untracked(self.second(x) + self.second(2 * x + 1))


def net():
    torch.manual_seed(0)
    return Net().double()


def some_batches(count=4, size=2):
    generator = torch.Generator().manual_seed(1)
    options = {'generator': generator, 'dtype': torch.float64}
    return [10 + i + torch.randn(size, 3, 5, 5, **options) for i in range(count)]


def channels_last(x):
    return x.transpose(0, 1).flatten(1)


def test_statistics_are_those_of_all_batches_together():
    model, batches = net(), some_batches()
    assert recalibrate(model, batches) == 4
    joint = channels_last(torch.cat(batches))
    torch.testing.assert_close(model.first.running_mean, joint.mean(1), rtol=1e-12, atol=0)
    torch.testing.assert_close(model.first.running_var, joint.var(1), rtol=1e-12, atol=0)
    # The second layer reads what the first has normalised with each batch's own statistics.
    with torch.no_grad():
        read = [nn.functional.batch_norm(x, None, None, training=True) for x in batches]
    calls = channels_last(torch.cat([*read, *(2 * x + 1 for x in read)]))
    torch.testing.assert_close(model.second.running_mean, calls.mean(1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model.second.running_var, calls.var(1), rtol=1e-12, atol=0)


def test_nothing_else_changes():
    model = net()
    model.first.eval()
    model.second.num_batches_tracked.fill_(7)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = {name: module.training for name, module in model.named_modules()}
    state = torch.get_rng_state()
    recalibrate(model, some_batches())
    assert torch.equal(torch.get_rng_state(), state)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert model.first.momentum == 0.3
    assert model.first.track_running_stats
    assert not model.untracked.track_running_stats
    assert not model.first._forward_pre_hooks
    changed = {
        name for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    }
    names = {f'{layer}.running_{what}' for layer in ('first', 'second') for what in ('mean', 'var')}
    assert changed == names


def test_result_depends_on_nothing_but_the_seed():
    def random_batches():
        for _ in range(3):
            yield torch.rand(2, 3, 4, 4, dtype=torch.float64)

    means = []
    for seed in (0, 0, 1):
        model = net()
        torch.rand(len(means) + 1)
        recalibrate(model, random_batches(), seed=seed)
        means.append(model.first.running_mean.clone())
    assert torch.equal(means[0], means[1])
    assert not torch.equal(means[0], means[2])


def test_loader_is_read_without_touching_the_random_state():
    model, read = net(), []
    loader = DataLoader(torch.cat(some_batches()), batch_size=2, shuffle=True)
    state = torch.get_rng_state()
    count = recalibrate(
        model, loader, max_batches=3, forward=lambda model, batch: read.append(model(batch))
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert count == len(read) == 3


def test_only_layers_that_are_named():
    model = net()
    recalibrate(model, some_batches(), layers=['second'])
    assert torch.equal(model.first.running_mean, torch.zeros(3, dtype=torch.float64))
    assert model.second.running_mean.ne(0).all()
    # The first layer is in evaluation mode meanwhile: its inputs are near 11.5, not normalised.
    assert model.second.running_mean.mean() > 10


def test_low_precision_is_averaged_in_full():
    model = nn.Sequential(nn.BatchNorm2d(3)).bfloat16()
    batches = [batch.bfloat16() for batch in some_batches()]
    recalibrate(model, batches)
    joint = channels_last(torch.cat(batches)).double()
    assert torch.equal(model[0].running_mean, joint.mean(1).bfloat16())
    assert torch.equal(model[0].running_var, joint.var(1).bfloat16())


def test_error_leaves_the_model_as_it_was():
    model = net().train()
    before = model.first.running_mean.clone()
    with pytest.raises(RuntimeError):
        recalibrate(model, [*some_batches(), torch.rand(2, 4, 5, 5, dtype=torch.float64)])
    assert torch.equal(model.first.running_mean, before)
    assert model.first.track_running_stats
    assert not model.first._forward_pre_hooks
    assert model.dropout.training


def test_forward_says_how_a_batch_is_read():
    model, batches = net(), some_batches()
    recalibrate(
        model, [(batch, 0) for batch in batches], forward=lambda model, batch: model(batch[0])
    )
    expected = channels_last(torch.cat(batches)).mean(1)
    torch.testing.assert_close(model.first.running_mean, expected, rtol=1e-12, atol=0)


def test_invalid_input():
    with pytest.raises(ValueError, match='no batches'):
        recalibrate(net(), [])
    with pytest.raises(ValueError, match=r"\['third', 'untracked'\]"):
        recalibrate(net(), some_batches(), layers=['untracked', 'first', 'third'])


def test_network_without_running_statistics_reads_no_batch():
    assert recalibrate(nn.Sequential(nn.GroupNorm(1, 3)), iter(some_batches())) == 0


def test_layers_with_running_statistics():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.SyncBatchNorm(2), nn.GroupNorm(1, 2))
    assert list(running_norms(model)) == ['0', '1']


def recalibrate_rank(rank, folder):
    distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2
    )
    model, batches = net(), some_batches()
    recalibrate(model, batches[rank::2])
    torch.save(model.state_dict(), f'{folder}/{rank}.pth')


def test_ranks_share_the_statistics_of_all_their_batches(tmp_path):
    multiprocessing.start_processes(
        recalibrate_rank, (str(tmp_path),), nprocs=2, start_method='fork'
    )
    model = net()
    recalibrate(model, some_batches())
    for rank in range(2):
        found = torch.load(tmp_path / f'{rank}.pth', weights_only=True)
        for name, value in model.state_dict().items():
            torch.testing.assert_close(found[name], value, rtol=1e-12, atol=1e-12)
