"""The wrapper around mmpretrain's classifiers and their recipes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope

from adasap_det.optim import AdaSAPOptimWrapper

from .test_optim_wrapper import assert_same, sam_direction, sgd, textbook

pytest.importorskip('mmpretrain')

AUGMENTS = {
    'none': None,
    'mixup': dict(augments=dict(type='Mixup', alpha=0.8)),
    'cutmix': dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
}
LOSSES = {
    'cross entropy': dict(type='CrossEntropyLoss', use_soft=False),
    'label smoothing': dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
}


def classifier(augments, loss):
    from mmpretrain.models import ImageClassifier

    loss = {**loss, 'use_soft': True} if augments and 'use_soft' in loss else dict(loss)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = ImageClassifier(
            backbone=dict(type='ResNet_CIFAR', depth=18, stem_channels=4, base_channels=4),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=5, in_channels=32, loss=loss),
            train_cfg=augments,
            data_preprocessor=dict(num_classes=5, mean=[0.0] * 3, std=[1.0] * 3),
        )
    model.init_weights()
    return model.double().train()


def batches():
    from mmpretrain.structures import DataSample

    torch.manual_seed(1)
    return [
        dict(
            inputs=torch.rand(4, 3, 16, 16),
            data_samples=[DataSample().set_gt_label(i % 5) for i in range(4)],
        )
        for _ in range(3)
    ]


def mixed(model):
    """What the preprocessor makes of the batches: drawn once a step."""
    torch.manual_seed(7)
    return [model.data_preprocessor(batch, training=True) for batch in batches()]


def trained(model, wrapper):
    """Steps on batches that were mixed beforehand, as the textbook's."""
    for batch in mixed(model):
        with wrapper.optim_context(model):
            losses = model(**_double(batch), mode='loss')
        wrapper.update_params(model.parse_losses(losses)[0])
    return model


def _double(batch):
    return {**batch, 'inputs': batch['inputs'].double()}


@pytest.mark.parametrize('loss', LOSSES)
@pytest.mark.parametrize('augments', AUGMENTS)
def test_matches_reference_loop_with_mixup_and_label_smoothing(augments, loss):
    models = []
    for _ in range(2):
        np.random.seed(3)  # Mixup's ratios
        models.append(classifier(AUGMENTS[augments], LOSSES[loss]))
    actual, expected = models
    np.random.seed(5)
    trained(actual, AdaSAPOptimWrapper(optimizer=sgd(actual), form='sam', rho=0.25))
    np.random.seed(5)
    textbook(
        expected,
        lambda weights: sam_direction(weights, 0.25),
        batches=[_double(batch) for batch in mixed(expected)],
    )
    assert_same(actual, expected, rtol=1e-9)


@pytest.mark.parametrize('augments', ['mixup', 'cutmix'])
def test_both_passes_use_the_same_mixed_batch(augments):
    """Through train_step, where the preprocessor mixes at random."""
    seen = []
    model = classifier(AUGMENTS[augments], LOSSES['label smoothing'])
    model.data_preprocessor.float()
    forward = model.forward

    def spy(inputs, data_samples=None, mode='tensor'):
        seen.append((inputs.clone(), [s.gt_score.clone() for s in data_samples]))
        return forward(inputs.double(), data_samples, mode)

    model.forward = spy
    np.random.seed(0)
    wrapper = AdaSAPOptimWrapper(optimizer=sgd(model), form='sam', rho=0.25)
    for batch in batches():
        model.train_step(batch, wrapper)
    assert len(seen) == 6
    for first, second in zip(seen[::2], seen[1::2], strict=True):
        assert torch.equal(first[0], second[0])
        assert all(torch.equal(a, b) for a, b in zip(first[1], second[1], strict=True))
    assert not torch.equal(seen[0][0], seen[2][0])


def test_zero_radius_matches_plain_wrapper():
    actual, expected = (classifier(None, LOSSES['label smoothing']) for _ in range(2))
    trained(actual, AdaSAPOptimWrapper(optimizer=sgd(actual), form='asam', rho=0.0))
    trained(expected, OptimWrapper(sgd(expected)))
    assert_same(actual, expected)
