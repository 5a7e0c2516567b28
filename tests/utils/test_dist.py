"""Broadcast of rank 0's result to two ranks."""

import pytest
from mmengine.dist import barrier
from torch import distributed, multiprocessing

from adasap_det.utils.dist import broadcast_from_rank0


def ask(rank, folder):
    distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2
    )
    asked = []

    def find():
        asked.append(rank)
        return {'found by': rank}

    def fail():
        raise ValueError(f'val.txt is empty, says rank {rank}')

    assert broadcast_from_rank0(find) == {'found by': 0}
    assert asked == ([0] if rank == 0 else [])
    with pytest.raises(ValueError, match=r'val\.txt is empty, says rank 0'):
        broadcast_from_rank0(fail)
    assert broadcast_from_rank0(lambda: None) is None  # the ranks are still in step
    barrier()


def test_only_rank_0_calls_the_function(tmp_path):
    multiprocessing.start_processes(ask, (str(tmp_path),), nprocs=2, start_method='fork')


def test_without_distribution():
    assert broadcast_from_rank0(lambda: 3) == 3
    with pytest.raises(KeyError, match='lost'):
        broadcast_from_rank0(lambda: {}['lost'])
