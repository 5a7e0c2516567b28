from adasap_det.utils.plural import counted


def test_noun_agrees_with_the_number():
    assert [counted(n, 'image') for n in (0, 1, 2)] == ['0 images', '1 image', '2 images']
    assert counted(3, 'severity') == '3 severities'
