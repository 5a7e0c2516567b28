"""Registries of what a config may name: importance criteria and budgets.

A criterion of one's own is a class of ten lines::

    @IMPORTANCES.register_module()
    class MyImportance(Importance):
        def channel_scores(self, group, tensors):
            ...
"""

from collections.abc import Mapping
from typing import Any

from mmengine.registry import Registry

IMPORTANCES = Registry('importance', locations=['adasap_det.pruning'])
BUDGETS = Registry('budget', locations=['adasap_det.pruning'])


def build_registered(registry: Registry, cfg: Mapping[str, Any], key: str) -> Any:
    """Build from a registry.

    Args:
        registry: Where ``type`` is looked up.
        cfg: ``type`` and options.
        key: Option to name in errors.

    Raises:
        ValueError: If there is no such type; lists those that there are.
    """
    options = dict(cfg)
    kind = options.pop('type', None)
    built = registry.get(kind) if isinstance(kind, str) else kind
    if not callable(built):
        raise ValueError(
            f'{key}.type={kind!r} is unknown; there are {", ".join(sorted(registry.module_dict))}'
        )
    return built(**options)
