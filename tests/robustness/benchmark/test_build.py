from __future__ import annotations

import hashlib
import json
import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adasap_det.robustness.benchmark import (
    BenchmarkError,
    build_benchmark,
    cell_root,
    coco_source,
    folder_source,
    make_options,
    read_manifest,
    verify_benchmark,
    voc_source,
)
from adasap_det.robustness.benchmark import run as run_module
from adasap_det.robustness.benchmark import worker as worker_module
from adasap_det.robustness.benchmark.disk import DiskEstimate
from adasap_det.robustness.benchmark.image_codec import decode, encode
from adasap_det.robustness.benchmark.lock import LOCK, locked
from adasap_det.robustness.benchmark.options import software
from adasap_det.robustness.corruptions import corrupt

from ...helpers.source_trees import CORRUPTIONS, contents, image, make_coco, make_voc

OPTIONS = make_options(corruptions=CORRUPTIONS, severities=(1, 3))


class Killed(BaseException):
    """Stands for a process that is killed: nothing is caught or cleaned up."""


@pytest.fixture
def voc(tmp_path):
    return make_voc(tmp_path / 'VOCdevkit', 6)


def build(root, out, **options):
    arguments = dict(options=OPTIONS, workers=0, quiet=True, say=lambda _: None) | options
    return build_benchmark(voc_source(root), out, **arguments)


def test_every_image_equals_the_corrupted_source_image(voc, tmp_path):
    report = build(voc, tmp_path / 'out')
    assert (report.images, report.cells, report.built) == (6, 8, 6)
    for image_id in ('000001', '000006'):
        clean = decode((voc / f'VOC2007/JPEGImages/{image_id}.jpg').read_bytes())
        for corruption, severity in OPTIONS.cells:
            expected = corrupt(
                clean, corruption=corruption, severity=severity, image_id=image_id, seed=0
            )
            file = cell_root(tmp_path / 'out', corruption, severity)
            found = (file / f'VOC2007/JPEGImages/{image_id}.jpg').read_bytes()
            assert found == encode(expected, format='jpg', quality=95, subsampling='4:2:0')


def test_png_has_the_pixels_of_on_the_fly_corruption(voc, tmp_path):
    options = make_options(corruptions=['gaussian_noise'], severities=[5], format='png', seed=7)
    build(voc, tmp_path / 'out', options=options)
    clean = decode((voc / 'VOC2007/JPEGImages/000002.jpg').read_bytes())
    expected = corrupt(clean, corruption='gaussian_noise', severity=5, image_id='000002', seed=7)
    found = Image.open(tmp_path / 'out/gaussian_noise/5/VOC2007/JPEGImages/000002.jpg')
    assert found.format == 'PNG'
    np.testing.assert_array_equal(np.asarray(found), expected)


def test_result_is_independent_of_executor_and_order(voc, tmp_path):
    build(voc, tmp_path / 'a')
    with ThreadPoolExecutor(3) as pool:
        build(voc, tmp_path / 'b', executor=pool)
        assert pool.submit(int).result() == 0  # left open
    build(voc, tmp_path / 'c', executor=Backwards(), in_flight=4)
    assert contents(tmp_path / 'a') == contents(tmp_path / 'b') == contents(tmp_path / 'c')


class Backwards(ThreadPoolExecutor):
    """Run the last submitted task first."""

    def __init__(self):
        super().__init__(1)
        self._held: list[tuple] = []

    def submit(self, fn, /, *args, **kwargs):
        future: Future = Future()
        self._held.append((future, fn, args))
        if len(self._held) == 2 or fn.__name__ != 'build_image':
            for waiting, work, arguments in reversed(self._held):
                waiting.set_result(work(*arguments))
            self._held = []
        return future


def test_manifest_describes_the_benchmark(voc, tmp_path):
    build(voc, tmp_path / 'out')
    manifest = read_manifest(tmp_path / 'out')
    assert manifest.source == {'layout': 'voc', 'folder': 'VOC2007', 'split': 'test'}
    assert manifest.options == OPTIONS.to_json()
    assert {'corruptions', 'opencv', 'numpy'} <= manifest.software.keys()
    assert list(manifest.images) == [f'{i:06d}' for i in range(1, 7)]
    clean = (voc / 'VOC2007/JPEGImages/000003.jpg').read_bytes()
    assert manifest.images['000003'] == hashlib.sha256(clean).hexdigest()
    digests = {**manifest.files, **manifest.annotations}
    for path, digest in digests.items():
        data = (tmp_path / 'out' / path).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (digest.size, digest.sha256)
    found = contents(tmp_path / 'out')
    files = {path for path, data in found.items() if isinstance(data, bytes)}
    assert files == digests.keys() | {'manifest.json'}
    text = (tmp_path / 'out/manifest.json').read_text()
    assert str(tmp_path) not in text


@pytest.mark.parametrize(
    'write', ['image', 'journal', 'manifest', 'link', 'incomplete journal line']
)
def test_resumed_build_equals_an_uninterrupted_one(voc, tmp_path, monkeypatch, write):
    build(voc, tmp_path / 'complete')
    out = tmp_path / 'out'
    with monkeypatch.context() as patch, pytest.raises(Killed):
        _kill_at(patch, write)
        build(voc, out)
    assert not (out / 'manifest.json').exists()
    left = contents(out)
    assert 'progress.jsonl' in left
    # Images under their final name are complete.
    for path, data in left.items():
        if path.endswith('.jpg') and not path.startswith('.unfinished'):
            assert data == (tmp_path / 'complete' / path).read_bytes()
    report = build(voc, out)
    assert report.built == {'image': 4, 'incomplete journal line': 4, 'journal': 4}.get(write, 0)
    assert contents(out) == contents(tmp_path / 'complete')


def _kill_at(patch, write):
    """Kill the build at the third image, or while the files after the images are written."""
    real_replace, real_write, count = os.replace, os.write, [0]

    def replace_(old, new):
        name = os.fspath(new)
        if (
            (write == 'image' and count[0] == 20)
            or (write == 'manifest' and name.endswith('manifest.json'))
            or (write == 'link' and name.endswith('contrast/3/VOC2007/ImageSets'))
        ):
            raise Killed
        real_replace(old, new)
        count[0] += name.endswith('.jpg')

    def write_(descriptor, data):
        if bytes(data).startswith(b'{"image": "000003"'):
            if write == 'journal':
                raise Killed
            if write == 'incomplete journal line':
                real_write(descriptor, data[: len(data) // 2])
                raise Killed
        return real_write(descriptor, data)

    patch.setattr(os, 'replace', replace_)
    patch.setattr(os, 'write', write_)


def test_resumed_build_deletes_leftovers_of_a_killed_one(voc, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    with monkeypatch.context() as patch, pytest.raises(Killed):
        _kill_at(patch, 'image')
        unlink = Path.unlink  # a killed process does not clean up

        def keep_images(path, **options):
            return None if '.jpg.' in path.name else unlink(path, **options)

        patch.setattr(Path, 'unlink', keep_images)
        build(voc, out)
    assert any((out / '.unfinished').iterdir())
    build(voc, out)
    assert not (out / '.unfinished').exists()


def damage(out):
    """Damage five files; return the missing and the damaged ones."""
    cells = out / 'contrast/1/VOC2007', out / 'gaussian_noise/3/VOC2007'
    (cells[0] / 'JPEGImages/000001.jpg').unlink()
    file = cells[1] / 'JPEGImages/000001.jpg'
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1  # of the same size
    file.write_bytes(data)
    with (cells[1] / 'JPEGImages/000005.jpg').open('r+b') as truncated:
        truncated.truncate(100)
    (cells[0] / 'Annotations').unlink()
    (out / 'annotations/VOC2007/Annotations/000002.xml').write_text('<annotation/>')
    missing = ('contrast/1/VOC2007/Annotations', 'contrast/1/VOC2007/JPEGImages/000001.jpg')
    damaged = (
        'annotations/VOC2007/Annotations/000002.xml',
        'gaussian_noise/3/VOC2007/JPEGImages/000001.jpg',
        'gaussian_noise/3/VOC2007/JPEGImages/000005.jpg',
    )
    return missing, damaged


def test_verify_lists_damage_and_a_second_run_repairs_it(voc, tmp_path):
    out = tmp_path / 'out'
    build(voc, out)
    complete = contents(out)
    report = verify_benchmark(out, workers=0, quiet=True)
    assert report.good
    assert report.files == 6 * 8 + 6 + 1 + 3 * 8
    missing, damaged = damage(out)
    report = verify_benchmark(out, workers=0, quiet=True)
    assert (report.missing, report.damaged) == (missing, damaged)
    assert build(voc, out).built == 2  # those two images only
    assert contents(out) == complete
    shutil.rmtree(out / 'brightness')
    assert build(voc, out).built == 6
    assert contents(out) == complete


def test_resumed_build_repairs_damaged_files(voc, tmp_path, monkeypatch):
    build(voc, tmp_path / 'complete')
    out = tmp_path / 'out'
    with monkeypatch.context() as patch, pytest.raises(Killed):
        _kill_at(patch, 'manifest')
        build(voc, out)
    (out / 'contrast/1/VOC2007/JPEGImages/000004.jpg').write_bytes(b'')
    assert build(voc, out).built == 1
    assert contents(out) == contents(tmp_path / 'complete')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(quality=90), 'quality: 95 in the folder, 90 requested'),
        (dict(seed=1), 'seed: 0 in the folder, 1 requested'),
        (dict(severities=(1, 2)), r'severities: \[1, 3\] in the folder, \[1, 2\] requested'),
        (dict(corruptions=('fog',)), r'corruptions: \["gaussian_noise".*\["fog"\] requested'),
        (
            dict(format='png', quality=None, subsampling=None),
            'format: jpg in the folder, png requested',
        ),
    ],
)
@pytest.mark.parametrize('finished', [True, False])
def test_other_options_raise_an_error_that_names_them(
    voc, tmp_path, monkeypatch, change, message, finished
):
    out = tmp_path / 'out'
    if finished:
        build(voc, out)
    else:
        with monkeypatch.context() as patch, pytest.raises(Killed):
            _kill_at(patch, 'image')
            build(voc, out)
    before = contents(out)
    with pytest.raises(BenchmarkError, match=message):
        build(voc, out, options=replace(OPTIONS, **change))
    assert contents(out) == before


def test_other_images_raise(voc, tmp_path):
    out = tmp_path / 'out'
    build(voc, out, subset=3)
    assert read_manifest(out).images.keys() < {f'{i:06d}' for i in range(1, 7)}
    with pytest.raises(BenchmarkError, match=r'images: 3 .* in the folder, 6 .* requested'):
        build(voc, out)
    with pytest.raises(
        BenchmarkError, match='annotations of a cell: links in the folder, copies requested'
    ):
        build(voc, out, subset=3, copy_annotations=True)


def test_two_spellings_of_an_image_raise(voc, tmp_path):
    (voc / 'VOC2007/ImageSets/Main/test.txt').write_text('000001\n./000001\n')
    with pytest.raises(BenchmarkError, match=r'two images .* both become .*000001\.jpg'):
        build(voc, tmp_path / 'out')


def test_overwrite_rebuilds_and_keeps_other_files(voc, tmp_path):
    out = tmp_path / 'out'
    build(voc, out)
    (out / 'my results').mkdir()
    options = replace(OPTIONS, corruptions=('contrast',), quality=80)
    build(voc, out, options=options, overwrite=True)
    assert {path.name for path in out.iterdir()} == {
        'my results',
        'annotations',
        'contrast',
        'manifest.json',
    }
    assert verify_benchmark(out, workers=0, quiet=True).good


def test_a_folder_with_other_files_raises_and_stays_unchanged(voc, tmp_path):
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'thesis.tex').write_text('mine')
    for options in ({}, dict(overwrite=True), dict(overwrite=True, dry_run=True)):
        with pytest.raises(BenchmarkError, match=r'contains other files \(thesis\.tex\)'):
            build(voc, out, **options)
    assert contents(out) == {'thesis.tex': b'mine'}


def test_other_versions_raise_on_resume(voc, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    with monkeypatch.context() as patch, pytest.raises(Killed):
        _kill_at(patch, 'image')
        build(voc, out)
    journal = out / 'progress.jsonl'
    text = journal.read_text()
    journal.write_text(text.replace('"numpy": "', '"numpy": "0.'))
    with pytest.raises(BenchmarkError, match=r'begun with other versions.*numpy: 0\.'):
        build(voc, out)


def test_builds_with_fewer_recorded_versions_are_resumed(voc, tmp_path, monkeypatch):
    """Earlier releases did not record torch and the processor."""
    out = tmp_path / 'out'
    with monkeypatch.context() as patch, pytest.raises(Killed):
        _kill_at(patch, 'image')
        build(voc, out)
    journal = out / 'progress.jsonl'
    header, *lines = journal.read_text().splitlines(keepends=True)
    header = json.loads(header)
    del header['software']['torch'], header['software']['processor']
    journal.write_text(json.dumps(header) + '\n' + ''.join(lines))
    assert build(voc, out).built == 4
    # The torch version of the first images is unknown.
    assert read_manifest(out).software == header['software']
    (out / 'contrast/1/VOC2007/JPEGImages/000002.jpg').unlink()
    assert build(voc, out).built == 1
    assert read_manifest(out).software == header['software']


@pytest.mark.parametrize('name', ['torch', 'processor'])
def test_another_torch_or_processor_raises_on_resume(voc, tmp_path, monkeypatch, name):
    out = tmp_path / 'out'
    with monkeypatch.context() as patch, pytest.raises(Killed):
        _kill_at(patch, 'image')
        build(voc, out)
    monkeypatch.setattr(run_module, 'software', lambda: {**software(), name: 'other'})
    with pytest.raises(BenchmarkError, match=f'{name}: .* in the folder, other requested'):
        build(voc, out)
    monkeypatch.undo()
    monkeypatch.setattr(worker_module, 'software', lambda: {**software(), name: 'other'})
    with pytest.raises(BenchmarkError, match=f'a worker has {name} other'):
        build(voc, out)


def test_other_bytes_than_before_raise(voc, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    build(voc, out)
    (out / 'contrast/1/VOC2007/JPEGImages/000002.jpg').unlink()
    real = worker_module.encode
    monkeypatch.setattr(
        worker_module, 'encode', lambda rgb, **options: real(rgb ^ np.uint8(1), **options)
    )
    with pytest.raises(
        BenchmarkError, match='recorded versions are the same; the processor may be of'
    ):
        build(voc, out)


def test_a_changed_source_image_raises(voc, tmp_path):
    out = tmp_path / 'out'
    build(voc, out)
    before = contents(out)
    path = voc / 'VOC2007/JPEGImages/000002.jpg'
    original = path.read_bytes()
    Image.fromarray(image(99)).save(path)
    annotation = voc / 'VOC2007/Annotations/000002.xml'
    annotation.write_text(annotation.read_text().replace('<object>', '<object> '))
    # Nothing is missing: the old images would get the new annotations.
    with pytest.raises(BenchmarkError, match=r'000002\.jpg is not the image that the rest.*again'):
        build(voc, out)
    assert contents(out) == before
    # Corrected annotations of the same images are updated.
    path.write_bytes(original)
    build(voc, out)
    shared = out / 'annotations/VOC2007/Annotations/000002.xml'
    assert shared.read_text() == annotation.read_text()


def test_a_source_image_that_changes_during_the_build_raises(voc, tmp_path, monkeypatch):
    """After the check of the sources, before the missing image is rebuilt."""
    out = tmp_path / 'out'
    build(voc, out)
    (out / 'contrast/1/VOC2007/JPEGImages/000002.jpg').unlink()
    monkeypatch.setattr(run_module, 'check_clean_images', lambda *arguments, **options: None)
    Image.fromarray(image(99)).save(voc / 'VOC2007/JPEGImages/000002.jpg')
    with pytest.raises(BenchmarkError, match=r'000002\.jpg is not the image that the rest'):
        build(voc, out)


def spoil(voc):
    """Make 2 to 5 unusable: truncated, too small, without valid annotation, listed twice."""
    folder = voc / 'VOC2007'
    path = folder / 'JPEGImages/000002.jpg'
    path.write_bytes(path.read_bytes()[:-200])
    Image.fromarray(image(0, width=31)).save(folder / 'JPEGImages/000003.jpg')
    (folder / 'Annotations/000004.xml').write_text('<annotation>')
    with (folder / 'ImageSets/Main/test.txt').open('a') as file:
        file.write('000005\n')


def test_a_bad_image_stops_the_build(voc, tmp_path):
    out = tmp_path / 'out'
    spoil(voc)
    with pytest.raises(BenchmarkError, match=r'(?s)2 images.*000005: it is listed more than'):
        build(voc, out)
    assert not out.exists()
    lists = voc / 'VOC2007/ImageSets/Main/test.txt'
    lists.write_text('000001\n000002\n000006\n')
    with pytest.raises(BenchmarkError, match=r'000002\.jpg: the JPEG is truncated; repair it'):
        build(voc, out)
    assert not (out / 'manifest.json').exists()
    # The next run keeps the images that were built.
    assert build(voc, out, on_error='skip').images == 2


def test_bad_images_can_be_skipped_and_are_listed(voc, tmp_path):
    out = tmp_path / 'out'
    spoil(voc)
    report = build(voc, out, on_error='skip')
    assert report.images == 2
    assert read_manifest(out).skipped == report.skipped
    assert report.built == 2
    assert report.skipped['000002'] == 'the JPEG is truncated'
    assert report.skipped['000003'].startswith('it has 31 x 50 pixels')
    assert report.skipped['000004'].startswith('Annotations/000004.xml cannot be read')
    assert report.skipped['000005'] == 'it is listed more than once in test.txt'
    cell = out / 'contrast/3/VOC2007'
    assert (cell / 'ImageSets/Main/test.txt').read_text() == '000001\n000006\n'
    assert sorted(path.name for path in (cell / 'JPEGImages').iterdir()) == [
        '000001.jpg',
        '000006.jpg',
    ]
    assert verify_benchmark(out, workers=0, quiet=True).good
    # A repaired image is added.
    Image.fromarray(image(2)).save(voc / 'VOC2007/JPEGImages/000003.jpg')
    assert build(voc, out, on_error='skip').images == 3
    assert verify_benchmark(out, workers=0, quiet=True).good


def test_skipped_images_give_the_same_manifest_every_time(tmp_path):
    root = tmp_path / 'images'
    root.mkdir()
    Image.fromarray(image(0)).save(root / 'a.png')
    (root / 'b.png').write_bytes(b'not an image')
    Image.fromarray(image(0)).save(root / 'c.bmp')
    (root / 'c.bmp').write_bytes((root / 'c.bmp').read_bytes()[:2000])
    manifests = []
    for out in ('first', 'second'):
        build_benchmark(
            folder_source(root), tmp_path / out, options=OPTIONS, workers=0, on_error='skip',
            quiet=True, say=lambda _: None,
        )  # fmt: skip
        manifests.append((tmp_path / out / 'manifest.json').read_text())
    assert manifests[0] == manifests[1]
    skipped = read_manifest(tmp_path / 'first').skipped
    assert skipped['b.png'] == 'this file is not an image, or damaged'
    assert skipped['c.bmp'].startswith('this file is damaged (image file is truncated')


def test_no_usable_image_raises(tmp_path):
    voc = make_voc(tmp_path / 'voc', 1)
    (voc / 'VOC2007/JPEGImages/000001.jpg').write_bytes(b'')
    with pytest.raises(BenchmarkError, match='no image of'):
        build(voc, tmp_path / 'out', on_error='skip')


def test_files_that_block_a_folder_are_named(voc, tmp_path):
    (tmp_path / 'file').write_text('')
    for out in (tmp_path / 'file', tmp_path / 'file' / 'out'):
        with pytest.raises(BenchmarkError, match='file is a file where a folder should be'):
            build(voc, out)
    out = tmp_path / 'out'
    build(voc, out)
    shutil.rmtree(out / 'contrast')
    (out / 'contrast').write_text('')
    with pytest.raises(BenchmarkError, match='contrast is a file where a folder should be'):
        build(voc, out)


def test_a_full_disk_raises_and_the_next_run_resumes(voc, tmp_path, monkeypatch):
    build(voc, tmp_path / 'complete')
    out, real, room = tmp_path / 'out', os.write, [60_000]

    def write(descriptor, data):
        written = real(descriptor, data[: max(0, room[0])]) if room[0] > 0 else 0
        room[0] -= written
        if not written:
            raise OSError(28, 'No space left on device')
        return written

    with monkeypatch.context() as patch:
        patch.setattr(os, 'write', write)
        with pytest.raises(BenchmarkError, match=r'the disk is full.*run the same command again'):
            build(voc, out)
    assert not list((out / '.unfinished').iterdir())
    complete = contents(tmp_path / 'complete')
    for path, data in contents(out).items():
        assert path.startswith(('progress', '.unfinished')) or data == complete[path]
    assert build(voc, out).built < 6
    assert contents(out) == complete


def test_a_dry_run_writes_nothing(voc, tmp_path):
    said = []
    assert build(voc, tmp_path / 'out', dry_run=True, say=said.append) is None
    assert not (tmp_path / 'out').exists()
    assert any('48 files' in line for line in said)
    assert any(line.startswith('disk: about') for line in said)


def test_a_dry_run_creates_no_parent_folders(voc, tmp_path):
    before = contents(tmp_path)
    build(voc, tmp_path / 'new/newer/out', dry_run=True)
    with pytest.raises(BenchmarkError, match='workers is -1'):
        build(voc, tmp_path / 'new/newer/out', workers=-1)
    assert contents(tmp_path) == before
    (tmp_path / 'mine').mkdir()
    build(voc, tmp_path / 'mine/newer/out', dry_run=True)
    assert contents(tmp_path) == {**before, 'mine': 'folder'}


def test_a_second_build_in_the_same_folder_raises(voc, tmp_path):
    pytest.importorskip('fcntl')
    out = tmp_path / 'out'
    out.mkdir()
    with (
        locked(out),
        pytest.raises(BenchmarkError, match='another process is building'),
    ):
        build(voc, out)
    build(voc, out)
    assert not (out / LOCK).exists()


def test_a_leftover_lock_file_does_not_block_a_build(voc, tmp_path):
    build(voc, tmp_path / 'complete')
    out = tmp_path / 'out'
    out.mkdir()
    (out / LOCK).touch()
    build(voc, out)
    assert contents(out) == contents(tmp_path / 'complete')


def test_each_image_is_decoded_once(voc, tmp_path, monkeypatch):
    decoded = []
    monkeypatch.setattr(
        'adasap_det.robustness.benchmark.worker.decode',
        lambda data: decoded.append(len(data)) or decode(data),
    )
    # The estimate decodes an image too.
    monkeypatch.setattr(run_module, 'estimate_disk', lambda *_, **__: DiskEstimate(0, 0, 0))
    build(voc, tmp_path / 'out')
    assert len(decoded) == 6


def test_folder_of_images(tmp_path):
    for name in ('cat/1.jpg', 'dog/2.png'):
        (tmp_path / 'in' / name).parent.mkdir(parents=True)
        Image.fromarray(image(len(name))).save(tmp_path / 'in' / name)
    out = tmp_path / 'out'
    source = folder_source(tmp_path / 'in')
    build_benchmark(source, out, options=OPTIONS, workers=0, quiet=True, say=lambda _: None)
    expected = corrupt(
        decode((tmp_path / 'in/dog/2.png').read_bytes()),
        corruption='impulse_noise',
        severity=3,
        image_id='dog/2.png',
    )
    data = (out / 'impulse_noise/3/dog/2.jpg').read_bytes()
    assert data == encode(expected, format='jpg', quality=95, subsampling='4:2:0')
    assert read_manifest(out).links == {}
    shutil.copy(tmp_path / 'in/dog/2.png', tmp_path / 'in/dog/2.jpg')
    with pytest.raises(BenchmarkError, match=r'would both become dog/2\.jpg'):
        build_benchmark(folder_source(tmp_path / 'in'), tmp_path / 'x', workers=0)


def test_a_benchmark_inside_its_source_folder_raises(tmp_path):
    root = tmp_path / 'in'
    (root / 'cat').mkdir(parents=True)
    Image.fromarray(image(1)).save(root / 'cat/1.png')
    (tmp_path / 'link').symlink_to(root)
    before = contents(tmp_path)
    arguments = dict(options=OPTIONS, workers=0, quiet=True, say=lambda _: None)
    for out in (root, root / 'in-C', tmp_path / 'link/a/b', root / 'cat/../in-C'):
        with pytest.raises(BenchmarkError, match=r'is inside the source .* elsewhere with --out'):
            build_benchmark(folder_source(root), out, **arguments)
    assert contents(tmp_path) == before
    # Next to it, or in a hidden folder, a second run finds the same images.
    for out in (tmp_path / 'in-C', root / '.benchmark'):
        build_benchmark(folder_source(root), out, **arguments)
        assert build_benchmark(folder_source(root), out, **arguments).built == 0


def test_coco_annotations_omit_skipped_images(tmp_path):
    root = make_coco(tmp_path / 'coco', 3)
    (root / 'val/000000000001.jpg').write_bytes(b'\xff\xd8')
    out = tmp_path / 'out'
    source = coco_source(root, annotations='annotations/val.json', images='val')
    arguments = dict(options=OPTIONS, workers=0, quiet=True, say=lambda _: None)
    build_benchmark(source, out, on_error='skip', **arguments)
    data = json.loads((out / 'contrast/1/annotations/val.json').read_bytes())
    assert [entry['id'] for entry in data['images']] == [0, 2]
    assert [box['image_id'] for box in data['annotations']] == [0, 2]
    assert verify_benchmark(out, workers=0, quiet=True).good


def test_an_image_missing_from_the_source_raises(voc, tmp_path):
    build(voc, tmp_path / 'out')
    (voc / 'VOC2007/JPEGImages/000002.jpg').unlink()
    with pytest.raises(BenchmarkError, match=r'has lost images .* 000002: .* does not exist'):
        build(voc, tmp_path / 'out', on_error='skip')
