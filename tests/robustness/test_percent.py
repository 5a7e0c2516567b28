from adasap_det.robustness.metrics import percent


def test_one_decimal_or_what_stands_for_none():
    assert percent(0.41249) == '41.2'
    assert percent(1) == '100.0'
    assert percent(None) == '-'
    assert percent(None, none='?') == '?'
