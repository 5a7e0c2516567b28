from mmengine.runner import turn_on_activation_checkpointing

from adasap_det.optim.activation_checkpointing import may_recompute

from ..helpers.toy import ToyDetector


def test_a_plain_model():
    assert not may_recompute(ToyDetector())


def test_with_cp():
    model = ToyDetector()
    model.inner.with_cp = False
    assert not may_recompute(model)
    model.inner.with_cp = True
    assert may_recompute(model)


def test_mmengines_activation_checkpointing():
    model = ToyDetector()
    turn_on_activation_checkpointing(model, ['inner', 'back'])
    assert may_recompute(model)
