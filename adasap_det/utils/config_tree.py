"""Find the hooks and data sets in a config, and their type names."""

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


def iter_datasets(cfg: Any) -> Iterator[Any]:
    """Iterate over the data set configs inside wrappers such as ``ConcatDataset``.

    Args:
        cfg: Data set config, such as ``train_dataloader.dataset``; anything else, such as None,
            yields nothing.

    Yields:
        The configs themselves, to be changed in place; ``cfg`` if it wraps no data set.
    """
    if not isinstance(cfg, Mapping):
        return
    datasets = cfg.get('datasets') or []
    inner = [cfg.get('dataset'), *(datasets if isinstance(datasets, (list, tuple)) else [datasets])]
    if not any(isinstance(item, Mapping) for item in inner):
        yield cfg
    for item in inner:
        yield from iter_datasets(item)
