import torch

from adasap_det.utils.device import cpu_name, device_identity


def test_the_cpu_is_named_by_its_model(tmp_path):
    info = tmp_path / 'cpuinfo'
    info.write_text('processor\t: 0\nmodel name\t: Abacus 9000 @ 1 Hz\n')
    assert cpu_name(info).startswith('Abacus 9000 @ 1 Hz, ')


def test_threads_are_part_of_the_identity():
    threads = torch.get_num_threads()
    identity = device_identity(torch.device('cpu'))
    assert identity['threads'] == str(threads)
    assert identity['torch'] == torch.__version__
