"""Download and unpack Pascal VOC in the layout that MMDetection expects."""

from __future__ import annotations

import argparse
import os
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torchvision.datasets.utils import check_integrity, download_url
from torchvision.datasets.voc import DATASET_YEAR_DICT

from adasap_det.datasets.voc_check import check_voc_layout

__all__ = ['YEARS', 'Archive', 'Year', 'main', 'prepare_voc']


@dataclass(frozen=True)
class Archive:
    """URL, name and checksum of a tar file."""

    url: str
    filename: str
    md5: str


@dataclass(frozen=True)
class Year:
    """One year of the challenge.

    Attributes:
        archives: Archives to unpack, all into the same folder.
        splits: Image lists that must be complete afterwards.
    """

    archives: tuple[Archive, ...]
    splits: tuple[str, ...]


def _archive(key: str) -> Archive:
    entry = DATASET_YEAR_DICT[key]
    return Archive(url=entry['url'], filename=entry['filename'], md5=entry['md5'])


YEARS: dict[str, Year] = {
    '2007': Year((_archive('2007'), _archive('2007-test')), ('trainval', 'test')),
    # The annotations of the test set of 2012 are not public.
    '2012': Year((_archive('2012'),), ('trainval',)),
}
"""The years that can be prepared; URLs and checksums are torchvision's."""


def prepare_voc(
    root: str | os.PathLike[str] = 'data',
    *,
    years: Sequence[str] = ('2007', '2012'),
    archives: str | os.PathLike[str] | None = None,
    keep_archives: bool = False,
    table: Mapping[str, Year] = YEARS,
) -> list[Path]:
    """Prepare Pascal VOC below ``root`` as MMDetection's ``voc0712`` configs expect it.

    Call it again after an interruption: complete archives are not downloaded again, and a complete
    year is only checked. A year's folder appears once all its archives are unpacked.

    Args:
        root: Folder for ``VOCdevkit/VOC2007`` and ``VOCdevkit/VOC2012``.
        years: Years to prepare, keys of ``table``.
        archives: Folder with the tar files, for machines without network. They are verified and
            kept. By default they are downloaded to ``root/downloads``.
        keep_archives: Keep downloaded archives after unpacking.
        table: Archives and splits of each year.

    Returns:
        Folders of the years.

    Raises:
        ValueError: If a year is unknown, an archive is missing, damaged or cannot be downloaded,
            or a folder of that name exists and is not complete.
    """
    unknown = [year for year in years if year not in table]
    if unknown:
        raise ValueError(
            f'no year {", ".join(unknown)} of Pascal VOC; choose from {", ".join(table)}'
        )
    root = Path(root)
    devkit = root / 'VOCdevkit'
    devkit.mkdir(parents=True, exist_ok=True)
    folders = []
    for name in years:
        year = table[name]
        folder = devkit / f'VOC{name}'
        if folder.exists():
            print(f'{folder} exists: checking it')
        else:
            tars = [_obtain(archive, root / 'downloads', archives) for archive in year.archives]
            _unpack(tars, folder)
            if archives is None and not keep_archives:
                for tar in tars:
                    tar.unlink()
        _check(folder, year)
        folders.append(folder)
    return folders


def _obtain(archive: Archive, downloads: Path, archives: str | os.PathLike[str] | None) -> Path:
    """Return a verified tar file, from the folder of archives or downloaded."""
    if archives is not None:
        path = Path(archives) / archive.filename
        if not path.is_file():
            raise ValueError(
                f'{path} does not exist; download {archive.url} on a machine with network and put '
                'it there'
            )
        print(f'verifying {path}')
        if not check_integrity(path, archive.md5):
            raise ValueError(
                f'{path} is damaged or incomplete: its md5 is not {archive.md5}; download '
                f'{archive.url} again'
            )
        return path
    print(f'downloading {archive.url}, unless already downloaded')
    try:
        download_url(archive.url, downloads, filename=archive.filename, md5=archive.md5)
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f'could not download {archive.url} ({error}); try again later, or download it on '
            f'another machine and pass its folder with --archives'
        ) from error
    return downloads / archive.filename


def _unpack(tars: Sequence[Path], folder: Path) -> None:
    """Unpack the tar files beside ``folder`` and move the year's folder into place."""
    with tempfile.TemporaryDirectory(prefix=f'.{folder.name}-', dir=folder.parent) as temporary:
        for tar in tars:
            print(f'unpacking {tar}')
            try:
                with tarfile.open(tar) as file:
                    # Absent before Python 3.10.12 and in 3.11.0 to 3.11.3.
                    file.extraction_filter = getattr(tarfile, 'data_filter', None)
                    _check_members(file)
                    file.extractall(temporary)
            except (tarfile.TarError, EOFError) as error:
                raise ValueError(f'{tar} cannot be unpacked: {error}') from error
        unpacked = Path(temporary) / 'VOCdevkit' / folder.name
        if not unpacked.is_dir():
            names = ', '.join(str(tar) for tar in tars)
            raise ValueError(f'{names} hold no VOCdevkit/{folder.name}')
        unpacked.rename(folder)


def _check_members(file: tarfile.TarFile) -> None:
    """Reject members that would be written elsewhere; VOC has only files and folders."""
    for member in file.getmembers():
        name = Path(member.name)
        if not (member.isfile() or member.isdir()) or name.is_absolute() or '..' in name.parts:
            raise tarfile.ExtractError(f'{member.name!r} is no file or folder inside the archive')


def _check(folder: Path, year: Year) -> None:
    for split in year.splits:
        try:
            report = check_voc_layout(folder, list_file=f'ImageSets/Main/{split}.txt', decode=False)
        except ValueError as error:
            raise ValueError(
                f'{folder} is not complete; move it out of the way and run this again. {error}'
            ) from error
        print(f'{folder.name} {split}: {report.images} images, {report.boxes} boxes')


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    args = _parser().parse_args(argv)
    try:
        prepare_voc(
            args.root, years=args.years, archives=args.archives, keep_archives=args.keep_archives
        )
    except ValueError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f'error: {error.filename or args.root}: {error.strerror or error}; free space or '
            'choose another folder with --root, and run this again',
            file=sys.stderr,
        )
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description='Download, verify and unpack Pascal VOC 2007 and 2012 (2.8 GB).'
    )
    parser.add_argument(
        '--root', default='data', help='folder for VOCdevkit (default: %(default)s)'
    )
    parser.add_argument(
        '--years',
        nargs='+',
        default=['2007', '2012'],
        metavar='YEAR',
        help='years to prepare (default: 2007 2012)',
    )
    parser.add_argument(
        '--archives', metavar='DIR', help='use the tar files in DIR instead of downloading'
    )
    parser.add_argument(
        '--keep-archives', action='store_true', help='keep downloaded archives after unpacking'
    )
    return parser


if __name__ == '__main__':
    sys.exit(main())
