"""Read parts of a config: type names, hooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def type_name(cfg: Mapping[str, Any] | object) -> str:
    """Return the name in ``type`` without its scope; of an object, the name of its class.

    ``type`` may be a string or, as in pure Python configs, the class itself.
    """
    if not isinstance(cfg, Mapping):
        return type(cfg).__name__
    kind = cfg.get('type', '')
    name: str = kind if isinstance(kind, str) else getattr(kind, '__name__', str(kind))
    return name.rpartition('.')[2]


def iter_hooks(cfg: Mapping[str, Any]) -> Iterator[Any]:
    """Iterate over the hook configs in ``default_hooks``, then those in ``custom_hooks``.

    Default hooks that are switched off with ``None`` are left out.
    """
    hooks = [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or [])]
    yield from (hook for hook in hooks if isinstance(hook, Mapping))
