import pytest

from adasap_det.engine.input_size import config_input_size


@pytest.mark.parametrize(
    ('given', 'hooks', 'expected'),
    [
        ((32, 48), [dict(type='PruningHook', input_size=(8, 8))], (32, 48)),
        (None, [dict(type='Other'), dict(type='PruningHook', input_size=[8, 16])], (8, 16)),
        (None, [], (300, 500)),
    ],
)
def test_the_command_line_then_the_pruning_then_the_pipeline(given, hooks, expected):
    pipeline = [dict(type='Resize', scale=(500, 300))]
    cfg = dict(custom_hooks=hooks, train_dataloader=dict(dataset=dict(pipeline=pipeline)))
    assert config_input_size(cfg, given) == expected


def test_a_config_that_tells_no_size():
    with pytest.raises(ValueError, match='give --input-size H W'):
        config_input_size({})
