import pytest
import torch
import torch_pruning as tp
from mmengine.model import BaseModel
from torch import nn

from adasap_det.pruning import count_macs, count_params, find_channel_groups, prune_channels
from adasap_det.pruning.budgets.cost import macs_cost, params_cost, weight_uses
from adasap_det.pruning.graph.tracing import example_image
from adasap_det.pruning.surgery import prune_selected

from ...helpers.attention import CHANNELS, AttentionNet
from ...helpers.toy import (
    FlattenNet,
    GroupedNet,
    GroupNormNet,
    ResidualNet,
    SharedHeadNet,
    ToyDetector,
    randomize,
)

SIZE = (6, 6)
NETS = [ToyDetector, GroupNormNet, GroupedNet, SharedHeadNet, FlattenNet, AttentionNet]


@pytest.mark.parametrize('net', NETS)
@pytest.mark.parametrize('seed', range(3))
def test_predicted_cost_matches_pruned_model(net, seed):
    model = net()
    groups = find_channel_groups(model, example_image(SIZE)).groups
    params, macs = params_cost(model, groups), macs_cost(model, groups, example_image(SIZE))
    assert params.cost() == count_params(model)
    generator = torch.Generator().manual_seed(seed)
    kept = {}
    for group in groups:
        per_part = group.size // group.parts
        stays = torch.rand(per_part, generator=generator) < 0.6
        stays[0] = True
        kept[group.name] = stays.repeat(group.parts).nonzero().flatten()
    counts = {name: channels.numel() for name, channels in kept.items()}
    predicted = params.cost(counts), macs.cost(counts)
    prune_channels(model, groups, kept)
    assert predicted[0] == count_params(model)
    assert predicted[1] == pytest.approx(count_macs(model, input_size=SIZE))


def test_macs_by_hand():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, stride=2),  # 3x3 outputs, 4 * 27 weights
        nn.Conv2d(4, 4, 3, padding=1, groups=4),  # 3x3 outputs, 4 * 9 weights
        nn.Flatten(),
        nn.Linear(36, 5),
    )
    assert count_macs(model, input_size=SIZE) == 9 * 4 * 27 + 9 * 4 * 9 + 36 * 5


def test_macs_match_torch_pruning():
    model = ToyDetector().eval()
    theirs, _ = tp.utils.count_ops_and_params(model, torch.rand(1, 3, *SIZE))
    # They count batch norm (4 a value: 2 for scale and shift, twice) and biases too.
    biases = sum(
        36 * m.out_channels
        for m in model.modules()
        if isinstance(m, nn.Conv2d) and m.bias is not None
    )
    norms = sum(36 * 2 * m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    ours = count_macs(model, input_size=SIZE)
    assert ours <= theirs <= ours + biases + 2 * norms


def test_shared_layer_counts_once_per_call():
    uses = weight_uses(SharedHeadNet(), example_image(SIZE))
    assert uses['tower.weight'] == 36 + 9
    assert uses['first.weight'] == 36


def test_counting_does_not_change_the_model():
    model = ToyDetector().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    count_macs(model, input_size=SIZE)
    assert model.training
    assert not model.stem._forward_hooks
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_macs_of_the_projections_of_an_attention_by_hand():
    class Net(nn.Module):
        def __init__(self, **options):
            super().__init__()
            self.attention = nn.MultiheadAttention(CHANNELS, 4, batch_first=True, **options)

        def forward(self, x):
            x = x.flatten(2).transpose(1, 2)
            x = nn.functional.pad(x, (0, CHANNELS - 3))
            keys = x[:, :10]
            width = self.attention.kdim
            return self.attention(x, keys[..., :width], value=keys[..., :width])[0]

    # 36 queries, 10 keys and values, 36 outputs.
    square = CHANNELS * CHANNELS
    assert count_macs(Net(), input_size=SIZE) == (36 + 10 + 10 + 36) * square
    narrow = count_macs(Net(kdim=6, vdim=6), input_size=SIZE)
    assert narrow == (36 + 36) * square + (10 + 10) * 6 * CHANNELS


def test_macs_of_a_detection_transformer_are_those_of_all_its_layers():
    mmdet_structures = pytest.importorskip('mmdet.structures')

    class Transformer(BaseModel):
        def __init__(self):
            super().__init__()
            self.backbone = nn.Conv2d(3, 4, 1)
            self.decoder = nn.Linear(4, 4)

        def pre_transformer(self):
            raise AssertionError

        def forward(self, inputs, data_samples=None, mode='tensor'):
            (sample,) = data_samples
            assert isinstance(sample, mmdet_structures.DetDataSample)
            assert sample.batch_input_shape == sample.img_shape == SIZE
            return self.decoder(self.backbone(inputs).mean((2, 3)))

    assert count_macs(Transformer(), input_size=SIZE) == 36 * 3 * 4 + 4 * 4


@pytest.mark.parametrize('kind', ['params', 'macs'])
def test_a_removed_block_costs_nothing(kind):
    model = randomize(ResidualNet())
    groups = find_channel_groups(model, example_image(SIZE)).groups
    blocks = ['body.0', 'body.2']

    def count(model):
        return count_params(model) if kind == 'params' else count_macs(model, input_size=SIZE)

    cost = (
        params_cost(model, groups, blocks)
        if kind == 'params'
        else macs_cost(model, groups, example_image(SIZE), blocks)
    )
    assert cost.cost() == count(model)
    channels = {group.name: torch.arange(group.size // 2) for group in groups}
    kept = channels | {'body.0': torch.arange(0), 'body.2': torch.arange(1)}
    counts = {name: len(each) for name, each in kept.items()}
    saved = cost.cost({**counts, 'body.0': 1}) - cost.cost(counts)
    assert saved == cost.of_group('body.0', {**counts, 'body.0': 1})
    assert cost.of_group('body.0', counts) == 0
    prune_selected(model, groups, kept)
    assert cost.cost(counts) == count(model)
