import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v2, resnet18
from torchvision.models.convnext import CNBlock
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import BasicBlock

from adasap_det.checkpoint.removed_blocks import RemovedBlock, replace_blocks
from adasap_det.pruning import find_channel_groups
from adasap_det.pruning.graph.residual_blocks import find_residual_blocks

from ...helpers.toy import ToyDetector

SIZE = (8, 8)


class Net(nn.Module):
    """A stem, a body of 8 channels and an output layer."""

    def __init__(self, *body, inner_relu=True):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8))
        if inner_relu:
            self.stem.append(nn.ReLU())
        self.body = nn.Sequential(*body)
        self.out = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        return self.out(self.body(self.stem(x)))


class PreActivation(nn.Module):
    """The norms come first, registered in another order than they run in."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)])
        self.norms = nn.ModuleList([nn.BatchNorm2d(8), nn.BatchNorm2d(4)])
        self.gamma = nn.Parameter(torch.zeros(8, 1, 1))  # would hide the branch

    def forward(self, x):
        y = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            y = conv(norm(y).relu_())
        return x + self.gamma * y


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        return x * self.fc(x.mean((2, 3), keepdim=True)).sigmoid()


class InLayer(nn.Module):
    """A module around another, so that ``inner`` is not the innermost with layers."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


class Tokens(nn.Module):
    def __init__(self, *, norm_first):
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, 4)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(8, 2, 12, 0.1, norm_first=norm_first, batch_first=True)
            for _ in range(2)
        )
        self.norm = nn.LayerNorm(8)
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        x = self.embed(x).flatten(2).mT
        for layer in self.layers:
            x = layer(x)
        return self.out(self.norm(x).mean(1))


def blocks_of(model, size=SIZE, groups=(), **options):
    inputs = torch.rand(1, 3, *size)
    return {b.name: set(b.ends) for b in find_residual_blocks(model, inputs, groups, **options)}


def named(block, *owners, kinds=('weight', 'bias')):
    return {f'{block}.{owner}.{kind}' for owner in owners for kind in kinds}


def test_blocks_of_a_resnet_without_downsampling_end_in_their_last_norm():
    assert blocks_of(resnet18(num_classes=2), (32, 32)) == {
        f'layer{stage}.{i}': named(f'layer{stage}.{i}', 'bn2')
        for stage, i in ((1, 0), (1, 1), (2, 1), (3, 1), (4, 1))
    }


def test_inverted_residuals_end_in_the_norm_of_their_projection():
    model = mobilenet_v2(num_classes=2, width_mult=0.5)
    expected = {
        name: named(name, 'conv.3')
        for name, module in model.named_modules()
        if isinstance(module, InvertedResidual) and module.use_res_connect
    }
    assert len(expected) == 10
    assert blocks_of(model, (32, 32)) == expected


def test_a_transformer_layer_ends_in_the_last_layers_of_both_branches():
    name = 'layers.1'
    found = blocks_of(Tokens(norm_first=True))
    assert list(found) == ['layers.0', name]
    assert found[name] == named(name, 'self_attn.out_proj', 'linear2')


def test_a_layer_that_normalises_the_sum_is_no_block():
    assert blocks_of(Tokens(norm_first=False)) == {}


def test_a_residual_stage_is_not_removed_with_the_blocks_inside():
    stage = InLayer(nn.Sequential(BasicBlock(8, 8), BasicBlock(8, 8)))
    assert list(blocks_of(Net(stage))) == ['body.0.inner.0', 'body.0.inner.1']


def test_ends_do_not_depend_on_the_order_of_registration():
    assert blocks_of(Net(PreActivation())) == {'body.0': named('body.0', 'convs.1')}


def test_layer_scale_and_stochastic_depth_are_followed():
    found = blocks_of(Net(CNBlock(8, 1e-6, 0.5)))
    assert found == {'body.0': named('body.0', 'block.5')}


def test_an_activation_of_the_sum_needs_an_input_that_it_leaves_alone():
    assert list(blocks_of(Net(BasicBlock(8, 8)))) == ['body.0']
    assert blocks_of(Net(BasicBlock(8, 8), inner_relu=False)) == {}


def test_modules_without_a_residual_connection_are_no_blocks():
    assert blocks_of(Net(nn.Sequential(nn.Conv2d(8, 8, 1)), Gate())) == {}
    assert blocks_of(ToyDetector(), (6, 6)) == {}


def test_a_block_that_is_called_twice_or_shares_its_weights_stays():
    block = BasicBlock(8, 8)
    assert blocks_of(Net(block, block)) == {}
    first, second = BasicBlock(8, 8), BasicBlock(8, 8)
    second.conv1.weight = first.conv1.weight
    assert blocks_of(Net(first, second)) == {}


@pytest.mark.parametrize('pattern', ['body.0', 'body.0.conv2', '*.bn1', 'body'])
def test_a_block_with_an_excluded_layer_stays(pattern):
    found = blocks_of(Net(BasicBlock(8, 8), BasicBlock(8, 8)), exclude=[pattern])
    assert list(found) == (['body.1'] if pattern.startswith('body.0') else [])


def test_a_block_that_the_model_itself_freezes_stays():
    class Frozen(Net):
        def train(self, mode=True):
            super().train(mode)
            self.body[0].requires_grad_(False)
            return self

    assert list(blocks_of(Frozen(BasicBlock(8, 8), BasicBlock(8, 8)))) == ['body.1']


class Features(Net):
    """Has an auxiliary output after each basic block in training."""

    def forward(self, x):
        x = self.stem(x)
        outputs = []
        for block in self.body:
            x = block(x)
            if self.training and isinstance(block, BasicBlock):
                outputs.append(self.out(x))
        return [self.out(x), *outputs]


def test_a_block_whose_output_training_needs_stays():
    model = Features(BasicBlock(8, 8), PreActivation())
    assert list(blocks_of(model)) == ['body.1']


def test_a_block_whose_insides_are_read_elsewhere_stays():
    class Tapped(Net):
        def forward(self, x):
            x = self.body(self.stem(x))
            return self.out(x) + self.body[0].conv1.weight.mean()

    assert list(blocks_of(Tapped(BasicBlock(8, 8), BasicBlock(8, 8)))) == ['body.1']


def test_a_block_whose_inner_channels_are_pruned_with_others_outside_stays():
    class Joined(Net):
        """``extra`` reads channels of the first block that no tensor outside holds."""

        def __init__(self):
            super().__init__(BasicBlock(8, 8), BasicBlock(8, 8))
            self.extra = nn.Conv2d(8, 2, 1)
            self.body[0].bn1.register_forward_hook(self._keep)

        def _keep(self, module, args, output):
            self.kept = output

        def forward(self, x):
            self.kept = None
            x = self.body(self.stem(x))
            return self.out(x) + (0 if self.kept is None else self.extra(self.kept))

    model = Net(BasicBlock(8, 8))
    groups = find_channel_groups(model, torch.rand(1, 3, *SIZE)).groups
    assert list(blocks_of(model, groups=groups)) == ['body.0']
    model = Joined()
    groups = find_channel_groups(model, torch.rand(1, 3, *SIZE)).groups
    (inner,) = (g for g in groups if g.name == 'body.0.conv1')
    assert any(piece.name == 'extra.weight' for piece in inner.consumers)
    assert list(blocks_of(model, groups=groups)) == ['body.1']


def test_the_model_is_unchanged():
    model = Net(BasicBlock(8, 8)).train()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    assert blocks_of(model)
    assert model.training
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert not model.body[0]._forward_hooks


@pytest.mark.parametrize(
    ('build', 'size'),
    [
        (lambda: Net(BasicBlock(8, 8), PreActivation()), SIZE),
        (lambda: Tokens(norm_first=True), SIZE),
        (lambda: mobilenet_v2(num_classes=2, width_mult=0.5), (32, 32)),
    ],
    ids=['residual', 'transformer', 'mobilenet'],
)
def test_removed_is_exactly_what_zero_branches_compute(build, size):
    torch.manual_seed(0)
    model = build().double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    found = blocks_of(model, size)
    inputs = torch.rand(2, 3, *size, dtype=torch.float64)
    dense = model(inputs)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if any(name in ends for ends in found.values()):
                parameter.zero_()
    expected = model(inputs)
    replace_blocks(model, found)
    assert torch.equal(model(inputs), expected)
    assert not torch.equal(dense, expected)
    assert sum(isinstance(m, RemovedBlock) for m in model.modules()) == len(found)
