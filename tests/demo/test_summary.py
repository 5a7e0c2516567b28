import json

from rich.console import Console

from adasap_det.demo.summary import ModelResult, as_data, summary_table

DENSE = ModelResult(
    ap50=0.8, p=0.78, mpc=0.39, rpc=0.5, params=1000000, macs=40000000, latency_ms=8.0,
    checkpoint='d.pth',
)  # fmt: skip
PRUNED = ModelResult(
    ap50=0.76, p=0.0, mpc=0.0, rpc=None, params=500000, macs=10000000, latency_ms=6.0,
    checkpoint='p.pth',
)  # fmt: skip


def test_table_shows_each_model_and_its_remaining_percentage():
    console = Console(record=True, width=100)
    console.print(summary_table({'dense': DENSE, 'AdaSAP': PRUNED}, threads=2))
    lines = [
        [cell.strip() for cell in line.strip('│').split('│')]
        for line in console.export_text().splitlines()
        if line.startswith('│')
    ]
    assert lines == [
        ['AP50 on the test split', '80.0', '76.0'],
        ['AP50 on clean images of it (P)', '78.0', '0.0'],
        ['AP50 on corrupted ones (mPC)', '39.0', '0.0'],
        ['corrupted / clean (rPC)', '50.0', '-'],
        ['parameters', '1,000,000', '500,000 (50%)'],
        ['MACs of one image', '40.0 M', '10.0 M (25%)'],
        ['forward pass, 2 threads', '8.00 ms', '6.00 ms (75%)'],
    ]


def test_data_can_be_written_as_json():
    data = json.loads(json.dumps(as_data({'dense': DENSE, 'adasap': PRUNED}, seconds=1.5)))
    assert data['adasap']['params'] == 500000
    assert data['dense']['rpc'] == 0.5
    assert data['seconds'] == 1.5
