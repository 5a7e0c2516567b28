import pytest

from adasap_det.pruning.budgets.quantity import (
    COUNTS,
    MILLISECONDS,
    format_quantity,
    parse_quantity,
)


@pytest.mark.parametrize(
    ('value', 'units', 'expected'),
    [
        (8, MILLISECONDS, 8.0),
        ('8 ms', MILLISECONDS, 8.0),
        ('0.25s', MILLISECONDS, 250.0),
        (' 1.5e3 us ', MILLISECONDS, 1.5),
        ('3.5 M', COUNTS, 3.5e6),
        ('1200', COUNTS, 1200.0),
    ],
)
def test_amounts_are_read_in_the_base_unit(value, units, expected):
    assert parse_quantity(value, units, name='max_cost') == pytest.approx(expected)


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        (
            '8 parsec',
            r'budget\.max_cost is a number with one of the units s, ms, us, got .8 parsec',
        ),
        ('8', 'one of the units'),
        ('fast', 'one of the units'),
        ('1.2.3 ms', "'1.2.3' in '1.2.3 ms' is no number"),
        ('0 ms', 'must be positive'),
        (-1, 'must be positive, got -1'),
        (float('nan'), 'must be positive'),
    ],
)
def test_invalid_amount_is_an_error(value, message):
    with pytest.raises(ValueError, match=message):
        parse_quantity(value, MILLISECONDS, name='budget.max_cost')


def test_amounts_are_written_with_the_largest_fitting_unit():
    assert format_quantity(3_456_789, COUNTS) == '3.457 M'
    assert format_quantity(12, COUNTS) == '12'
    assert format_quantity(1500, MILLISECONDS) == '1.5 s'
    assert format_quantity(0.02, MILLISECONDS) == '20 us'
