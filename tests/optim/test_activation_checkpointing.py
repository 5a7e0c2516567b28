from mmengine.runner import turn_on_activation_checkpointing

from adasap_det.optim.activation_checkpointing import uses_activation_checkpointing

from ..helpers.toy import ToyDetector


def test_model_without_checkpointing():
    assert not uses_activation_checkpointing(ToyDetector())


def test_with_cp():
    model = ToyDetector()
    model.inner.with_cp = False
    assert not uses_activation_checkpointing(model)
    model.inner.with_cp = True
    assert uses_activation_checkpointing(model)


def test_mmengine_activation_checkpointing():
    model = ToyDetector()
    turn_on_activation_checkpointing(model, ['inner', 'back'])
    assert uses_activation_checkpointing(model)
