"""What a config, or an object made of one, is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def type_name(cfg: Mapping[str, Any] | object) -> str:
    """The name in ``type`` without its scope, be it a string or, as in configs of pure Python, the
    class itself; of an object that of its class."""
    if not isinstance(cfg, Mapping):
        return type(cfg).__name__
    kind = cfg.get('type', '')
    name: str = kind if isinstance(kind, str) else getattr(kind, '__name__', str(kind))
    return name.rpartition('.')[2]
