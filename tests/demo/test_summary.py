import json

from rich.console import Console

from adasap_det.demo.summary import ModelResult, as_data, summary_table

DENSE = ModelResult(ap50=0.8, params=1000000, macs=40000000, latency_ms=8.0, checkpoint='d.pth')
PRUNED = ModelResult(ap50=0.76, params=500000, macs=10000000, latency_ms=6.0, checkpoint='p.pth')


def test_table_shows_both_and_the_share_left():
    console = Console(record=True, width=100)
    console.print(summary_table(DENSE, PRUNED, threads=2))
    lines = [
        [cell.strip() for cell in line.strip('│').split('│')]
        for line in console.export_text().splitlines()
        if line.startswith('│')
    ]
    assert lines == [
        ['AP50 on the test split', '80.0', '76.0', '95%'],
        ['parameters', '1,000,000', '500,000', '50%'],
        ['MACs of one picture', '40.0 M', '10.0 M', '25%'],
        ['forward pass, 2 threads', '8.00 ms', '6.00 ms', '75%'],
    ]


def test_nothing_found_is_no_division_by_zero():
    nothing = ModelResult(ap50=0.0, params=1, macs=1, latency_ms=1.0, checkpoint='x')
    console = Console(record=True, width=100)
    console.print(summary_table(nothing, PRUNED, threads=1))
    assert '│              - │' in console.export_text()


def test_data_is_json():
    data = json.loads(json.dumps(as_data(DENSE, PRUNED, seconds=1.5)))
    assert data['pruned']['params'] == 500000
    assert data['seconds'] == 1.5
