"""A disk that is really full: a small tmpfs, if the system allows mounting one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ...helpers.source_trees import make_voc

# The free space check is disabled, since it would stop the build.
SCRIPT = """
import subprocess, sys
from pathlib import Path
import adasap_det.robustness.benchmark.run as run
from adasap_det.robustness.benchmark import *
from adasap_det.robustness.benchmark.disk import check_free_space

def build(out):
    options = make_options(corruptions=['contrast', 'gaussian_noise'], severities=[1, 2, 3])
    arguments = dict(options=options, workers=WORKERS, quiet=True, say=lambda _: None)
    return build_benchmark(voc_source(sys.argv[1]), out, **arguments)

if __name__ == '__main__':
    disk, complete = Path(sys.argv[2]), Path(sys.argv[3])
    build(complete)
    run.check_free_space = lambda *_, **__: ''
    try:
        build(disk / 'out')
    except BenchmarkError as error:
        assert 'the disk is full' in str(error), error
    else:
        raise SystemExit('no error')
    assert not list((disk / 'out/.unfinished').iterdir())
    for path in (disk / 'out').glob('*/*/VOC2007/JPEGImages/*'):
        assert path.read_bytes() == (complete / path.relative_to(disk / 'out')).read_bytes()
    run.check_free_space = check_free_space
    try:
        build(disk / 'out')
    except BenchmarkError as error:
        assert 'free space, choose' in str(error), error
    else:
        raise SystemExit('no error')
    subprocess.run(['mount', '-o', 'remount,size=8m', str(disk)], check=True)
    assert build(disk / 'out').built < 20
    assert verify_benchmark(disk / 'out', workers=0, quiet=True).good
    subprocess.run(['diff', '-r', str(disk / 'out'), str(complete)], check=True)
    print('passed')
"""


@pytest.mark.slow
@pytest.mark.parametrize('workers', [0, 1])
def test_a_full_disk_leaves_no_partial_file_and_the_next_run_resumes(tmp_path, workers):
    if shutil.which('unshare') is None or not sys.platform.startswith('linux'):
        pytest.skip('needs unshare')
    disk = tmp_path / 'disk'
    disk.mkdir()
    mount = f'mount -t tmpfs -o size=300k tmpfs {disk}'
    inside = ['unshare', '-rm', 'sh', '-c']
    if subprocess.run([*inside, mount], capture_output=True).returncode:
        pytest.skip('cannot mount a tmpfs')
    script = tmp_path / 'script.py'
    script.write_text(SCRIPT.replace('WORKERS', str(workers)))
    root = make_voc(tmp_path / 'voc', 20)
    command = f'{mount} && exec {sys.executable} {script} {root} {disk} {tmp_path / "complete"}'
    package = Path(__file__).parents[3]
    paths = os.pathsep.join([str(package), os.environ.get('PYTHONPATH', '')])
    finished = subprocess.run(
        [*inside, command], capture_output=True, text=True, env={**os.environ, 'PYTHONPATH': paths}
    )
    assert finished.stdout.strip() == 'passed', finished.stderr
