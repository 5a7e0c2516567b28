"""adasap-prune: several sizes, an order of removal, and one file with all sizes."""

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from adasap_det import Pruner, load_pruned
from adasap_det.checkpoint.loading import load_model
from adasap_det.checkpoint.structure import kept_channels
from adasap_det.cli import prune
from adasap_det.pruning import MACsBudget, RandomImportance, count_macs, count_params
from adasap_det.pruning.graph.tracing import example_image
from adasap_det.pruning.order import ORDER_KEY
from adasap_det.utils.model_recalibration import recalibrate_model
from adasap_det.utils.validation import validation_metrics

from ..helpers.training_runs import HOOK, TinyNet, tiny_config

SIZE = (6, 6)
COMMON = ['--input-size', '6', '6', '--round-to', '1']


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'tiny.py'
    tiny_config(tmp_path / 'unused').dump(path)
    return path


@pytest.fixture
def model():
    torch.manual_seed(0)
    return TinyNet().eval()


@pytest.fixture
def dense(model, tmp_path):
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, tmp_path / 'dense.pth')
    return tmp_path / 'dense.pth'


def pruner_of(model, **options):
    return Pruner(
        model,
        example_image(SIZE),
        importance=RandomImportance(),
        budget=MACsBudget(keep_ratio=0.5),
        min_keep_ratio=0,
        **options,
    )


@pytest.fixture
def order(model):
    return pruner_of(model).removal_order()


@pytest.fixture
def elastic(model, order, tmp_path):
    """A checkpoint with an order."""
    meta = {**order.state_dict(), 'keep_ratio_range': [0.5, 1.0], 'unit': 'parameters'}
    content = {'state_dict': model.state_dict(), 'meta': {ORDER_KEY: meta}}
    torch.save(content, tmp_path / 'elastic.pth')
    return tmp_path / 'elastic.pth'


@pytest.fixture
def run(config, tmp_path, capsys):
    """Runs the command; returns its standard output and error."""

    def call(checkpoint, *options, status=0):
        arguments = [str(config), str(checkpoint), *COMMON, '--out', str(tmp_path / 'out')]
        assert prune.main([*arguments, *options]) == status
        return capsys.readouterr()

    return call


def assert_same(model, other):
    state, expected = model.state_dict(), other.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in state.items())


def test_each_size_is_pruned_from_the_checkpoint(run, config, dense, tmp_path):
    """As if it were the only one."""
    several = run(dense, '--keep-ratio', '0.8', '0.4', '0.6')
    names = [f'dense_pruned_{r}{kind}' for r in ('0.8', '0.4', '0.6') for kind in ('.pth', '.py')]
    assert several.out.split()[-6:] == [str(tmp_path / 'out' / name) for name in names]
    cfg = Config.fromfile(config)
    for ratio in ('0.8', '0.4', '0.6'):
        run(dense, '--keep-ratio', ratio)
        alone, _ = load_model(cfg, tmp_path / 'out/dense_pruned.pth')
        among_others, _ = load_model(cfg, tmp_path / f'out/dense_pruned_{ratio}.pth')
        assert_same(among_others, alone)
        written = Config.fromfile(tmp_path / f'out/dense_pruned_{ratio}.py')
        assert written.load_from == str(tmp_path / f'out/dense_pruned_{ratio}.pth')


def test_the_order_of_the_checkpoint_is_followed(run, config, model, order, elastic, tmp_path):
    printed = run(elastic, '--keep-ratio', '0.8', '0.5')
    assert "the checkpoint's order of removal, trained at 0.5 to 1 of the parameters" in ' '.join(
        printed.err.split()
    )
    for ratio in (0.8, 0.5):
        path = tmp_path / f'out/elastic_pruned_{ratio}.pth'
        loaded, _ = load_model(Config.fromfile(config), path)
        assert kept_channels(loaded) == kept_by(order, pruner_of(model).costs()['params'], ratio)


def kept_by(order, cost, ratio):
    kept = order.kept(order.steps_within(ratio * cost.cost(), cost))
    return {name: channels.tolist() for name, channels in kept.items()}


def test_other_budgets_say_where_to_stop_in_the_order(run, config, model, order, elastic, tmp_path):
    run(elastic, '--keep-ratio', '0.7', '--budget', 'macs')
    loaded, _ = load_model(Config.fromfile(config), tmp_path / 'out/elastic_pruned.pth')
    assert kept_channels(loaded) == kept_by(order, pruner_of(model).costs()['macs'], 0.7)


def test_an_importance_overrides_the_order(run, config, dense, elastic, tmp_path):
    printed = run(elastic, '--keep-ratio', '0.6', '--importance', 'MagnitudeImportance')
    line = "by MagnitudeImportance; the checkpoint's order of removal is not used"
    assert line in ' '.join(printed.err.split())
    run(dense, '--keep-ratio', '0.6')
    cfg = Config.fromfile(config)
    models = [
        load_model(cfg, tmp_path / f'out/{name}_pruned.pth')[0] for name in ('dense', 'elastic')
    ]
    assert_same(*models)


def test_the_hooks_excluded_layers_have_no_place_in_the_order(run, tmp_path, config, model):
    excluded = {**HOOK, 'exclude': ['inner']}
    tiny_config(tmp_path / 'unused', custom_hooks=[excluded]).dump(config)
    order = pruner_of(model, exclude=['inner']).removal_order()
    meta = {**order.state_dict(), 'keep_ratio_range': [0.5, 1.0], 'unit': 'parameters'}
    path = tmp_path / 'elastic.pth'
    torch.save({'state_dict': model.state_dict(), 'meta': {ORDER_KEY: meta}}, path)
    run(path, '--keep-ratio', '0.6')
    loaded, _ = load_model(Config.fromfile(config), tmp_path / 'out/elastic_pruned.pth')
    assert loaded.inner.out_channels == 16


def test_a_size_outside_of_the_trained_ones_is_a_warning(run, elastic):
    words = 'lies outside of the sizes that were trained, 0.5 to 1;'
    inside = run(elastic, '--keep-ratio', '0.5')
    assert words not in ' '.join(inside.err.split())
    outside = run(elastic, '--keep-ratio', '0.4')
    assert f'warning: 0.4 of the parameters {words}' in ' '.join(outside.err.split())
    # 30 % of the MACs are fewer than half of the parameters.
    outside = run(elastic, '--keep-ratio', '0.3', '--budget', 'macs')
    assert words in ' '.join(outside.err.split())


def test_an_order_of_another_network(run, elastic):
    content = torch.load(elastic)
    content['meta'][ORDER_KEY]['ranks']['inner'].pop()
    torch.save(content, elastic)
    error = run(elastic, '--keep-ratio', '0.5', status=2).err
    assert 'the order of removal belongs to another network: group inner has 15 channels' in error


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['--keep-ratios', 'inner=0.5', '--keep-ratio', '0.5'], 'give --importance to select'),
        (['--prune-blocks', '--keep-ratio', '0.5'], 'give --importance to select'),
        (['--elastic', 'x.pth', '--prune-blocks'], '--elastic has one order of removal'),
        (['--elastic', 'x.pth', '--max-cost', '1 k'], '--elastic goes without --max-cost'),
        (['--elastic', 'x.pth', '--dry-run'], '--elastic goes without --max-cost, --dry-run'),
        (['--elastic', 'x.pth', '--keep-ratio', '1.5'], 'keep_ratios must lie in (0, 1], got 1.5'),
        (['--evaluate', '--dry-run'], '--evaluate needs a size'),
        (['--keep-ratio', '0.5', '--metric', 'accuracy'], '--metric is for --sensitivity and'),
        (['--keep-ratio', '0.5', '--evaluate', '--metric', 'AP'], "no metric 'AP'; there are accu"),
    ],
)
def test_options_that_exclude_each_other(run, elastic, options, words):
    assert words in run(elastic, *options, status=2).err


def test_dry_run_reports_each_size(run, dense, tmp_path):
    printed = run(dense, '--keep-ratio', '0.8', '0.5', '--dry-run').out
    assert printed.count('parameters  ') == 2
    assert not (tmp_path / 'out').exists()


def test_one_file_with_all_sizes(run, config, model, order, elastic, tmp_path):
    path = tmp_path / 'sizes.pth'
    options = ['--keep-ratio', '1.0', '0.5', '--recalibrate-batches', '2']
    assert run(elastic, '--elastic', str(path), *options).out.split()[-1] == str(path)
    run(elastic, '--keep-ratio', '0.5', '--recalibrate-batches', '2')
    pruned, _ = load_model(Config.fromfile(config), tmp_path / 'out/elastic_pruned.pth')
    loaded = load_pruned(config, path, keep_ratio=0.5)
    assert_same(loaded, pruned)
    assert kept_channels(loaded) == kept_channels(pruned)
    assert (loaded.training, loaded.cfg.model.type) == (False, 'TinyNet')
    recalibrate_model(model, Config.fromfile(config).train_dataloader, batches=2)
    assert_same(load_pruned(TinyNet(), path), model)
    # The order is in it too.
    run(path, '--keep-ratio', '0.5', '--recalibrate-batches', '2')
    again, _ = load_model(Config.fromfile(config), tmp_path / 'out/sizes_pruned.pth')
    assert_same(again, pruned)


@pytest.mark.parametrize('options', [['--keep-ratio', '0.5'], ['--elastic', 'sizes.pth']])
def test_a_network_without_norms(run, config, tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)

    @MODELS.register_module(force=True)
    class Normless(TinyNet):
        def __init__(self, data_preprocessor=None):
            super().__init__(data_preprocessor=data_preprocessor)
            self.bn, self.inner_bn = torch.nn.Identity(), torch.nn.Identity()

    tiny_config(tmp_path / 'unused', model={'type': 'Normless'}).dump(config)
    torch.save({'state_dict': Normless().state_dict()}, 'dense.pth')
    printed = run('dense.pth', *options, '--recalibrate-batches', '2')
    assert 'the network has no batch norm statistics to re-estimate' in printed.err


@pytest.mark.parametrize('importance', ['MagnitudeImportance', 'TaylorImportance'])
def test_one_file_from_an_importance(run, config, dense, tmp_path, importance):
    """By an order that the importance gives, which is followed afterwards."""
    path = tmp_path / 'sizes.pth'
    run(dense, '--elastic', str(path), '--importance', importance, '--batches', '2')
    for ratio in (0.9, 0.33):
        loaded = load_pruned(Config.fromfile(config), path, keep_ratio=ratio)
        assert ratio - 0.1 < count_params(loaded) / count_params(TinyNet()) <= ratio
    followed = run(path, '--keep-ratio', '0.33')
    assert "which channels go: the checkpoint's order of removal\n" in followed.err
    pruned, _ = load_model(Config.fromfile(config), tmp_path / 'out/sizes_pruned.pth')
    assert kept_channels(pruned) == kept_channels(loaded)
    run(path, '--elastic', str(tmp_path / 'again.pth'))
    again = load_pruned(TinyNet(), tmp_path / 'again.pth', keep_ratio=0.33)
    assert kept_channels(again) == kept_channels(loaded)


@pytest.mark.parametrize('way', ['checkpoints', 'elastic'])
def test_sizes_are_evaluated(run, config, model, elastic, tmp_path, way):
    path = tmp_path / 'sizes.pth'
    options = ['--keep-ratio', '0.8', '0.5', '--budget', 'macs', '--evaluate']
    if way == 'elastic':
        options += ['--elastic', str(path)]
    printed = run(elastic, *options)
    assert printed.out.split()[-2:] == [str(tmp_path / f'out/sizes.{k}') for k in ('json', 'svg')]
    content = json.loads((tmp_path / 'out/sizes.json').read_text())
    cfg = Config.fromfile(config)
    measure = validation_metrics(cfg)
    expected = {'whole': model}
    for ratio in ('0.8', '0.5'):
        expected[ratio] = (
            load_pruned(TinyNet(), path, macs_ratio=float(ratio))
            if way == 'elastic'
            else load_model(cfg, tmp_path / f'out/elastic_pruned_{ratio}.pth')[0]
        )
    assert [row['name'] for row in content['sizes']] == [*expected]
    for row in content['sizes']:
        network = expected[row['name']]
        assert row['metrics'] == measure(network)
        assert row['parameters'] == count_params(network)
        assert row['macs'] == count_macs(network, input_size=SIZE)
        assert row['latency_ms'] > 0
    assert content['sizes'][2]['macs'] <= 0.5 * content['sizes'][0]['macs']
