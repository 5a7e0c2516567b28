from __future__ import annotations

import io

from adasap_det.robustness.benchmark import progress as progress_module
from adasap_det.robustness.benchmark.progress import ProgressReport, format_duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_log_gets_lines_with_rate_and_time_left(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress_module.time, 'monotonic', lambda: now[0])
    stream = io.StringIO()
    with ProgressReport('building', 1000, stream=stream, every=5) as progress:
        for _ in range(20):
            now[0] += 0.5
            progress.advance()
    lines = stream.getvalue().splitlines()
    assert lines[0] == (
        'building: 10 of 1000 images, 2.00 per second, 0:00:05 elapsed, 0:08:15 left'
    )
    assert len(lines) == 2  # at 5 and 10 seconds; the end is in the latter
    assert lines[-1].startswith('building: 20 of 1000')
    with ProgressReport('building', 1000, stream=stream, every=5) as progress:
        now[0] += 1
        progress.advance(3)
    assert stream.getvalue().splitlines()[2].startswith('building: 3 of 1000')


def test_a_terminal_gets_a_bar():
    stream = Terminal()
    with ProgressReport('building', 4, stream=stream) as progress:
        progress.advance(3)
    assert 'building' in stream.getvalue() and '3/4' in stream.getvalue()


def test_quiet_prints_nothing():
    for stream in (io.StringIO(), Terminal()):
        with ProgressReport('building', 4, stream=stream, quiet=True) as progress:
            progress.advance()
        assert stream.getvalue() == ''


def test_no_work_prints_nothing():
    stream = io.StringIO()
    with ProgressReport('building', 0, stream=stream):
        pass
    assert stream.getvalue() == ''


def test_format_duration():
    assert [format_duration(seconds) for seconds in (0, 59.6, 3599, 36061)] == [
        '0:00:00',
        '0:01:00',
        '0:59:59',
        '10:01:01',
    ]
