"""The scope ``adasap_det::`` in configs: ``_base_ = 'adasap_det::ssd_voc_adasap.py'``.

MMEngine (mmengine 0.10.7, onedl-mmengine 0.10.12) inherits configs from a closed list of packages
only, needs a folder in every name, and finds the files through the metadata of the installed
package, which in some releases is wrong for editable installations. This patch resolves the names
of our scope to the files that ship with this package.
"""

from __future__ import annotations

import functools
from typing import Any

from adasap_det.utils.shipped_configs import config_path

_PREFIX = 'adasap_det::'


def register_config_scope() -> None:
    """Let MMEngine's ``Config`` resolve the scope ``adasap_det::`` in ``_base_``."""
    from mmengine.config import Config

    original = Config._get_cfg_path
    if getattr(original, '_adasap_det', False):
        return

    @functools.wraps(original)
    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if cfg_path.startswith(_PREFIX):
            # No scope: the package has no registry of its own, and a `_scope_` without one would
            # keep `_base_.model` from finding the classes of the config's default scope.
            return config_path(cfg_path.removeprefix(_PREFIX)), None
        return original(cfg_path, filename)

    get_cfg_path._adasap_det = True  # type: ignore[attr-defined]
    Config._get_cfg_path = staticmethod(get_cfg_path)


def register_hub_scope() -> None:
    """Let ``mmengine.hub.get_config`` resolve the scope ``adasap_det::``."""
    from mmengine import hub
    from mmengine.config import Config

    original = hub.get_config
    if getattr(original, '_adasap_det', False):
        return

    @functools.wraps(original)
    def get_config(cfg_path: str, pretrained: bool = False) -> Any:
        if not cfg_path.startswith(_PREFIX):
            return original(cfg_path, pretrained)
        if pretrained:
            raise ValueError(
                f'no weights are published for {cfg_path!r}; call get_config without pretrained '
                'and load your own checkpoint'
            )
        return Config.fromfile(config_path(cfg_path.removeprefix(_PREFIX)))

    get_config._adasap_det = True  # type: ignore[attr-defined]
    hub.get_config = hub.hub.get_config = get_config
