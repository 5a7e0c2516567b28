"""P, mPC and rPC by hand, against a published table, and formatted."""

import pytest

from adasap_det.robustness.corruptions import BENCHMARK
from adasap_det.robustness.metrics import FULL_GRID, percent, summarise
from adasap_det.robustness.results import CLEAN, Cell


def cell(corruption, severity, value, **per_class):
    return Cell(
        corruption, severity, 'x', 10, {'AP50': value}, {'AP50': per_class} if per_class else {}
    )


def cells_of(table, clean=0.8):
    cells = {CLEAN: cell(None, 0, clean)}
    cells.update({(c, s): cell(c, s, v) for (c, s), v in table.items()})
    return cells


TWO_BY_TWO = {('fog', 1): 0.6, ('fog', 5): 0.2, ('snow', 1): 0.5, ('snow', 5): 0.3}


def test_summary_by_hand():
    found = summarise(cells_of(TWO_BY_TWO), grid=list(TWO_BY_TWO))
    assert found.p == 0.8
    assert found.per_corruption == {'fog': pytest.approx(0.4), 'snow': pytest.approx(0.4)}
    assert found.per_severity == {1: pytest.approx(0.55), 5: pytest.approx(0.25)}
    assert found.mpc == pytest.approx(0.4)
    assert found.rpc == pytest.approx(0.5)
    assert found.complete


def test_full_grid_has_15_corruptions_at_5_severities():
    assert len(FULL_GRID) == 75
    table = {key: 0.01 * key[1] * (1 + BENCHMARK.index(key[0])) for key in FULL_GRID}
    found = summarise(cells_of(table))
    # Mean severity 3, mean position 8.
    assert found.mpc == pytest.approx(0.01 * 3 * 8)
    assert found.rpc == pytest.approx(0.24 / 0.8)


def test_mpc_does_not_depend_on_the_order_of_averaging():
    found = summarise(cells_of(TWO_BY_TWO), grid=list(TWO_BY_TWO))
    assert found.mpc == pytest.approx(sum(found.per_severity.values()) / 2)


def test_an_incomplete_sweep_has_no_mpc():
    cells = cells_of(TWO_BY_TWO)
    del cells['snow', 5]
    found = summarise(cells, grid=list(TWO_BY_TWO))
    assert (found.mpc, found.rpc, found.complete) == (None, None, False)
    assert found.missing == (('snow', 5),)
    assert found.per_corruption == {'fog': pytest.approx(0.4), 'snow': None}
    assert found.per_severity == {1: pytest.approx(0.55), 5: None}
    assert summarise(cells).mpc is None


def test_validation_corruptions_are_not_part_of_mpc():
    table = dict.fromkeys(FULL_GRID, 0.4) | {('spatter', 1): 1.0}
    assert summarise(cells_of(table)).mpc == pytest.approx(0.4)


def test_per_class_and_classes_without_objects():
    cells = {
        CLEAN: cell(None, 0, 0.5, dog=0.8, cat=0.2, cow=None),
        ('fog', 1): cell('fog', 1, 0.3, dog=0.4, cat=0.2, cow=None),
        ('fog', 2): cell('fog', 2, 0.1, dog=0.2, cat=0.0, cow=None),
    }
    found = summarise(cells, grid=[('fog', 1), ('fog', 2)])
    dog, cat, cow = (found.per_class[name] for name in ('dog', 'cat', 'cow'))
    assert (dog.p, dog.mpc, dog.rpc) == (0.8, pytest.approx(0.3), pytest.approx(0.375))
    assert (cat.mpc, cat.rpc) == (pytest.approx(0.1), pytest.approx(0.5))
    assert (cow.p, cow.mpc, cow.rpc) == (None, None, None)


def test_rpc_is_undefined_where_clean_performance_is_zero():
    found = summarise(cells_of(TWO_BY_TWO, clean=0.0), grid=list(TWO_BY_TWO))
    assert found.mpc == pytest.approx(0.4)
    assert found.rpc is None


def test_unknown_metric_and_ragged_grid():
    with pytest.raises(ValueError, match=r"has no metric 'mAP'; it has AP50"):
        summarise(cells_of(TWO_BY_TWO), metric='mAP', grid=list(TWO_BY_TWO))
    with pytest.raises(ValueError, match='same severities'):
        summarise(cells_of(TWO_BY_TWO), grid=list(TWO_BY_TWO)[:3])


#: AP50 of Faster R-CNN R-50-FPN on VOC2007 test, severities 1 to 5, and the mean over these, as
#: published in bethgelab/robust-detection-benchmark (raw-data/pascal_voc), three digits each.
PUBLISHED = """
gaussian_noise     .696 .596 .443 .258 .110  .421
shot_noise         .710 .611 .469 .253 .136  .436
impulse_noise      .563 .500 .446 .275 .132  .383
defocus_blur       .634 .532 .352 .219 .147  .377
glass_blur         .565 .413 .195 .150 .111  .287
motion_blur        .666 .518 .348 .227 .177  .387
zoom_blur          .461 .369 .338 .279 .249  .339
snow               .678 .498 .534 .440 .378  .506
frost              .703 .587 .493 .475 .411  .534
fog                .761 .744 .717 .709 .655  .717
brightness         .793 .782 .758 .733 .690  .751
contrast           .762 .736 .674 .505 .269  .589
elastic_transform  .690 .625 .519 .439 .338  .522
pixelate           .715 .674 .495 .341 .228  .490
jpeg_compression   .711 .655 .607 .470 .322  .553
speckle_noise      .735 .694 .556 .467 .363  .563
gaussian_blur      .750 .569 .375 .228 .091  .403
spatter            .795 .730 .666 .579 .435  .641
saturate           .780 .764 .789 .729 .655  .744
"""


def test_published_table_of_pascal_c():
    """The leaderboard has P 80.5, mPC 48.6, rPC 60.4, without the validation corruptions."""
    rows = [line.split() for line in PUBLISHED.split('\n') if line]
    table = {(r[0], s): float(r[s]) for r in rows for s in range(1, 6)}
    assert len(table) == 95
    found = summarise(cells_of(table, clean=0.8045))
    assert found.complete
    assert found.mpc == pytest.approx(0.4861, abs=5e-4)
    assert found.rpc == pytest.approx(0.6042, abs=5e-4)
    for name, *_, mean in rows[:15]:
        assert found.per_corruption[name] == pytest.approx(float(mean), abs=1e-3)


def test_percent_has_one_decimal_and_a_placeholder_for_none():
    assert percent(0.41249) == '41.2'
    assert percent(1) == '100.0'
    assert percent(None) == '-'
    assert percent(None, none='?') == '?'
