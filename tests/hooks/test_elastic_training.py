import copy

import pytest
import torch
from torch import nn

from adasap_det import ElasticTraining, Pruner, recalibrate
from adasap_det.hooks.channel_rows import channel_rows
from adasap_det.hooks.elastic_stage import ElasticOptions, ElasticStage
from adasap_det.optim import AdaSAPOptimWrapper
from adasap_det.pruning import ParamsBudget, TaylorImportance, count_params

from ..helpers.toy import ToyDetector, toy_batch


def pruner_of(model):
    return Pruner(
        model,
        torch.rand(1, 3, 8, 8),
        importance=TaylorImportance(),
        budget=ParamsBudget(keep_ratio=0.5),
    )


def test_steps_are_those_of_the_optimizer_wrapper():
    torch.manual_seed(0)
    model = ToyDetector().train()
    other = copy.deepcopy(model)
    batches = [toy_batch(i) for i in range(8)]

    pruner = pruner_of(model)
    training = ElasticTraining(
        pruner, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), steps=8, rise=0.1
    )
    torch.manual_seed(1)
    losses = [
        float(training.step(lambda b=batch: model.parse_losses(model(**b, mode='loss'))[0]))
        for batch in batches
    ]

    wrapper = AdaSAPOptimWrapper(
        optimizer=torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9), rise=0.1
    )
    wrapper.stage = 'adaptive'
    pruner = pruner_of(other)
    pruner.importance.window = 100
    wrapper.set_channels(channel_rows(other, pruner.groups))
    wrapper.gradient_observers.append(pruner.observe)
    stage = ElasticStage(pruner, wrapper, ElasticOptions.parse({}), begin=0, end=8)
    torch.manual_seed(1)
    for step, batch in enumerate(batches):
        if step == 0:
            wrapper.set_scores(pruner.importance.scores(pruner.groups, other))
        stage.begin_pass(step)
        found = other.train_step(batch, wrapper)
        assert losses[step] == float(found['loss'].detach())
    for (name, mine), theirs in zip(
        model.state_dict().items(), other.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, theirs), name
    assert training.order.state_dict() == stage.order.state_dict()


def test_any_size_can_be_taken_afterwards():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3),
        nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2),
    )  # fmt: skip
    labels = torch.arange(32) % 2
    images = torch.rand(32, 3, 10, 10) + 0.5 * labels[:, None, None, None]
    pruner = pruner_of(model)
    training = ElasticTraining(pruner, torch.optim.Adam(model.parameters(), 1e-2), steps=60)
    for _ in range(60):
        training.step(lambda: nn.functional.cross_entropy(model(images), labels))
    dense, order = count_params(model), training.order
    for ratio in (0.6, 0.3):
        smaller = copy.deepcopy(model)
        pruner_of(smaller).prune_to(ratio * dense, order=order)
        recalibrate(smaller, [images])
        assert count_params(smaller) <= ratio * dense
        assert (smaller.eval()(images).argmax(1) == labels).float().mean() > 0.9


@pytest.mark.parametrize(
    'options', [{'ascent': 'subbatch'}, {'interval': 2}, {'accumulative_counts': 2}]
)
def test_steps_of_another_kind_are_refused(options):
    model = ToyDetector()
    training = ElasticTraining(
        pruner_of(model), torch.optim.SGD(model.parameters(), lr=0.1), steps=8, **options
    )
    with pytest.raises(ValueError, match='closure_step makes one two-pass step'):
        training.step(lambda: model(torch.rand(2, 3, 8, 8)).sum())


def test_pattern_that_matches_nothing_is_refused():
    model = ToyDetector()
    training = ElasticTraining(
        pruner_of(model), torch.optim.SGD(model.parameters(), lr=0.1), steps=8, exclude=['stemm']
    )
    with pytest.raises(ValueError, match="'stemm' matches no parameter"):
        training.step(lambda: model(torch.rand(2, 3, 8, 8)).sum())


def test_sizes_are_not_validated_here():
    model = ToyDetector()
    with pytest.raises(ValueError, match='evaluate_keep_ratios is for PruningHook'):
        ElasticTraining(
            pruner_of(model),
            torch.optim.SGD(model.parameters(), lr=0.1),
            steps=8,
            elastic={'evaluate_keep_ratios': (0.5,)},
        )


def test_autocast_around_the_step_is_autocast_inside_the_closure():
    """Its copies of weights are those of each pass."""
    found = []
    for inside in (True, False):
        torch.manual_seed(0)
        model = ToyDetector(dropout=0.0).train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        training = ElasticTraining(pruner_of(model), optimizer, steps=4, rise=0.2)
        for index in range(4):
            batch = toy_batch(index)

            def closure(batch=batch, model=model):
                with torch.autocast('cpu', dtype=torch.bfloat16):
                    return model.parse_losses(model(**batch, mode='loss'))[0]

            def bare(batch=batch, model=model):
                return model.parse_losses(model(**batch, mode='loss'))[0]

            if inside:
                training.step(closure)
            else:
                with torch.autocast('cpu', dtype=torch.bfloat16):
                    training.step(bare)
        found.append(model.state_dict())
    for name, tensor in found[0].items():
        torch.testing.assert_close(found[1][name], tensor, rtol=1e-3, atol=1e-4, msg=name)
