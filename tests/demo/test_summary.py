import io

from rich.console import Console

from adasap_det.demo.summary import (
    HEADS,
    Difference,
    Results,
    SizeResult,
    meaning,
    plot,
    rows,
    summary_table,
    write_page,
)


def _size(keep_ratio, plain, elastic, *, half_width=2.0):
    difference = elastic - plain
    interval = Difference(difference, difference - half_width, difference + half_width)
    return SizeResult(
        keep_ratio=keep_ratio,
        ap50={'plain': plain, 'elastic': elastic},
        mpc={'plain': plain / 2, 'elastic': elastic / 2},
        parameters={'plain': 1000, 'elastic': 990},
        latency_ms={'plain': 4.0, 'elastic': 3.9},
        difference={'AP50': interval, 'mPC': interval},
    )


RESULTS = Results(
    seed=0,
    iterations=400,
    sizes=[_size(1.0, 80.0, 81.0), _size(0.2, 40.0, 70.0)],
    fine_tuned={'AP50': 68.0, 'mPC': 30.0},
    against_fine_tuned={'AP50': Difference(2.0, -1.0, 5.0), 'mPC': Difference(5.0, 1.0, 9.0)},
)


def test_rows_have_both_networks_and_their_difference_with_its_interval():
    whole, smallest, tuned = rows(RESULTS)
    assert [len(row) for row in (whole, smallest, tuned)] == [len(HEADS)] * 3
    assert whole[:4] == ['100%', '80.0', '81.0', '+1.0 [-1.0, 3.0]']
    assert smallest[:4] == ['20%', '40.0', '70.0', '+30.0 [28.0, 32.0]']
    assert smallest[4:6] == ['20.0', '35.0']
    assert smallest[7:] == ['3.9']
    assert tuned[:4] == ['20% *', '68.0', '70.0', '+2.0 [-1.0, 5.0]']
    assert tuned[4:7] == ['30.0', '35.0', '+5.0 [1.0, 9.0]']


def test_table_fits_a_terminal_of_80_columns():
    console = Console(width=80, file=io.StringIO())
    console.print(summary_table(RESULTS))
    text = console.file.getvalue()
    assert '+30.0 [28.0, 32.0]' in text
    assert '…' not in text


def test_verdict_needs_an_interval_on_one_side_of_zero():
    assert Difference(2.0, 0.1, 4.0).verdict == 'ahead'
    assert Difference(2.0, -0.1, 4.0).verdict == 'inconclusive'
    assert Difference(-2.0, -4.0, -0.1).verdict == 'behind'


def test_meaning_names_gain_cost_and_the_fine_tuned_network():
    gain, cost, tuned = meaning(RESULTS)
    assert 'AP50 70.0 where the plain one has 40.0 (ahead)' in gain
    assert '800 in all where plain training takes 400' in cost
    assert 'at 20%, the plain network reaches 68.0' in tuned
    assert '+2.0 [-1.0, 5.0] (inconclusive)' in tuned


def test_results_are_read_as_they_were_written(tmp_path):
    RESULTS.write(tmp_path / 'results.json')
    assert Results.read(tmp_path / 'results.json') == RESULTS


def test_page_has_figure_table_and_images(tmp_path):
    plot(RESULTS, tmp_path / 'sizes.svg')
    image = tmp_path / 'images' / 'one.png'
    write_page(RESULTS, tmp_path / 'report.html', figure=tmp_path / 'sizes.svg', images=[image])
    page = (tmp_path / 'report.html').read_text('utf-8')
    assert page.count('<tr>') == 1 + 3
    assert '<td>+30.0 [28.0, 32.0]</td>' in page
    assert '<svg' in page
    assert 'src="images/one.png"' in page
    assert '{' not in page.split('</style>')[1].split('<svg')[0]
