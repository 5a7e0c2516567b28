import pytest
import torch

from adasap_det.pruning import (
    MACsBudget,
    MagnitudeImportance,
    ParamsBudget,
    TaylorImportance,
    count_params,
    find_channel_groups,
)
from adasap_det.pruning.one_shot import observe_gradients, prune_once

from ..helpers.toy import ToyDetector, randomize, toy_batch

SIZE = (6, 6)


def prune(model, budget, **options):
    analysis = find_channel_groups(model, input_size=SIZE)
    return prune_once(
        model,
        analysis,
        importance=MagnitudeImportance(),
        budget=budget,
        input_size=SIZE,
        min_keep_ratio=0,
        **options,
    )


def test_asked_and_reached():
    model = randomize(ToyDetector())
    dense = count_params(model)
    result = prune(model, ParamsBudget(keep_ratio=0.5))
    assert (result.dense, result.asked) == (dense, dense / 2)
    assert result.reached == count_params(model) <= dense / 2
    assert result.reached > 0.4 * dense


def test_the_structure_names_the_dense_channels_through_two_cuts():
    """What is left after the second cut is numbered as in the dense model."""
    model = randomize(ToyDetector())
    weight = model.inner.weight.detach().clone()
    groups = find_channel_groups(model, input_size=SIZE).groups
    (stem,) = (group.name for group in groups if 'stem' in group.layers)
    first = prune(model, ParamsBudget(keep_ratio=0.7))
    second = prune(model, MACsBudget(keep_ratio=0.7), before=first.structure)
    kept = second.structure['kept']
    assert second.structure['dense_channels'] == first.structure['dense_channels']
    rows, columns = kept['inner'], kept[stem]
    assert torch.equal(model.inner.weight, weight[rows][:, columns])


def test_gradients_are_observed_of_frozen_layers_too():
    model = randomize(ToyDetector())
    model.stem_bn.requires_grad_(False)
    analysis = find_channel_groups(model, input_size=SIZE)
    importance = TaylorImportance()
    losses = (sum(model(**toy_batch(seed), mode='loss').values()) for seed in (1, 2))
    assert observe_gradients(importance, analysis, model, losses) == 2
    scores = importance.scores(analysis.groups, model)
    assert all(score.unique().numel() > 1 for score in scores)
    assert not model.stem_bn.weight.requires_grad
    assert model.inner.weight.requires_grad
    assert all(p.grad is None for p in model.parameters())


def test_an_unreachable_budget_leaves_the_model_alone():
    model = ToyDetector()
    before = count_params(model)
    with pytest.raises(ValueError, match='cannot be reached'):
        prune(model, ParamsBudget(keep_ratio=0.001))
    assert count_params(model) == before
