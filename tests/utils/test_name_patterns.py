from adasap_det.utils.name_patterns import matches


def test_matches_a_name_or_a_containing_module():
    assert matches('backbone.layer1.conv', ['backbone'])
    assert matches('backbone.layer1.conv', ['*.conv'])
    assert not matches('backbone2', ['backbone'])
    assert not matches('backbone', [])
