"""Find the configs that ship with the package."""

from __future__ import annotations

import difflib
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def config_path(name: str) -> str:
    """Return the absolute path of a config that ships with the package.

    For launchers that do not import the package before they read the config:
    ``_base_ = __import__('adasap_det').config_path('ssd_voc_adasap.py')``.

    Args:
        name: Path below ``configs/``.

    Raises:
        ValueError: If there is no such config; the message lists names close to it.
    """
    folder = _config_folder()
    path = folder / name
    if path.is_file():
        return str(path)
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob('*.py'))
    close = difflib.get_close_matches(name, names, n=5, cutoff=0.5) or names
    raise ValueError(
        f'adasap_det ships no config {name!r}; did you mean one of: {", ".join(close)}?'
        if close
        else f'adasap_det ships no config {name!r}: {folder} holds none. Reinstall the package.'
    )


def _config_folder() -> Path:
    """Return ``.mim/configs``, or ``configs`` of a checkout without symbolic links."""
    shipped = _PACKAGE / '.mim' / 'configs'
    return shipped if shipped.is_dir() else _PACKAGE.parent / 'configs'
