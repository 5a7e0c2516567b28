import math

import torch

from adasap_det.optim.loss_check import bad_components, describe


def test_message_lists_components_with_values():
    losses = {
        'loss_cls': [torch.tensor(1.0), torch.tensor(math.nan)],
        'loss_bbox': torch.tensor([0.5, -math.inf]),
        'loss_fine': torch.tensor(2.0),
        'acc': 7,
    }
    assert bad_components(losses) == ['loss_cls = nan', 'loss_bbox = -inf']


def test_unnamed_losses():
    assert bad_components(torch.tensor(math.nan)) == []
    message = describe(torch.tensor(math.inf), None, iteration=3, perturbed=False)
    assert 'iteration 3: loss = inf' in message


def test_remedy_depends_on_the_pass():
    bad = {'loss_cls': torch.tensor(math.nan)}
    total = torch.tensor(math.nan)
    first = describe(total, bad, iteration=12, perturbed=False)
    second = describe(total, bad, iteration=12, perturbed=True)
    assert first.startswith('the loss is not finite in iteration 12: loss_cls = nan; ')
    assert 'learning rate' in first
    assert 'at the perturbed weights in iteration 12' in second
    assert 'lower rho' in second
