import torch

from adasap_det.pruning import RandomImportance


def test_the_same_until_cut_and_another_by_seed(toy):
    first = toy(RandomImportance(), 'inner')
    assert torch.equal(first, toy(RandomImportance(), 'inner'))
    assert not torch.equal(first, toy(RandomImportance(seed=1), 'inner'))
    assert not torch.equal(first, toy(RandomImportance(), 'left'))
    assert first.unique().numel() == 6
    assert ((first >= 0) & (first < 1)).all()
