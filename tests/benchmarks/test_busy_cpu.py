"""Training on a busy CPU: the table in the README is that of the recorded turns."""

import json
import statistics

from ..helpers.code_blocks import ROOT


def test_table_of_the_readme_has_the_recorded_medians():
    recorded = json.loads((ROOT / 'benchmarks/results/busy_cpu.json').read_text('utf-8'))
    text = (ROOT / 'benchmarks/README.md').read_text('utf-8')
    section = text.partition('## Training on a busy CPU\n')[2].partition('\n## ')[0]
    rows = [line for line in section.splitlines() if line.startswith('| ')][2:]
    assert len(rows) == len(recorded['steps_per_second'])
    for row, values in zip(rows, recorded['steps_per_second'].values(), strict=True):
        cells = [
            f'{statistics.median(turns):.2f} ({min(turns):.2f} to {max(turns):.2f})'
            for turns in (values['alone'], values['busy'])
        ]
        relative = statistics.median(values['busy']) / statistics.median(values['alone'])
        assert row.endswith(f'| {" | ".join(cells)} | {relative:.2f} |')
