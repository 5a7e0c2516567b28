import torch

from adasap_det.pruning import RandomImportance


def test_scores_are_fixed_until_pruning_and_depend_on_seed(toy):
    first = toy(RandomImportance(), 'inner')
    assert torch.equal(first, toy(RandomImportance(), 'inner'))
    assert not torch.equal(first, toy(RandomImportance(seed=1), 'inner'))
    assert not torch.equal(first, toy(RandomImportance(), 'left'))
    assert first.unique().numel() == 6
    assert ((first >= 0) & (first < 1)).all()
