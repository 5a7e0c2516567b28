"""The scope ``adasap_det::`` in configs: ``_base_ = 'adasap_det::ssd_voc_adasap.py'``.

MMEngine (mmengine 0.10.7, onedl-mmengine 0.10.12) inherits configs from a closed list of packages
only, needs a folder in every name, and finds the files through the metadata of the installed
package, which in some releases is wrong for editable installations. This patch resolves the names
of our scope to the files that ship with this package.
"""

from __future__ import annotations

import functools
from importlib.util import find_spec
from typing import Any

from adasap_det.utils.shipped_configs import config_path

_PREFIX = 'adasap_det::'


def register_config_scope() -> None:
    """Let MMEngine's ``Config`` and ``hub.get_config`` resolve the scope ``adasap_det::``."""
    if find_spec('mmengine') is None:
        return
    from mmengine import hub
    from mmengine.config import Config

    if getattr(Config._get_cfg_path, '_adasap_det', False):
        return
    original = Config._get_cfg_path

    @functools.wraps(original)
    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if cfg_path.startswith(_PREFIX):
            # No scope: the package has no registry of its own, and a `_scope_` without one would
            # keep `_base_.model` from finding the classes of the config's default scope.
            return config_path(cfg_path.removeprefix(_PREFIX)), None
        return original(cfg_path, filename)

    hub_get_config = hub.get_config

    @functools.wraps(hub_get_config)
    def get_config(cfg_path: str, pretrained: bool = False) -> Any:
        if not cfg_path.startswith(_PREFIX):
            return hub_get_config(cfg_path, pretrained)
        if pretrained:
            raise ValueError(
                f'no weights are published for {cfg_path!r}; call get_config without pretrained '
                'and load your own checkpoint'
            )
        return Config.fromfile(config_path(cfg_path.removeprefix(_PREFIX)))

    get_cfg_path._adasap_det = True  # type: ignore[attr-defined]
    Config._get_cfg_path = staticmethod(get_cfg_path)
    hub.get_config = hub.hub.get_config = get_config
