"""Parts of detectors that MMDetection lacks."""

from .ssd_extra_layers import SSDExtraLayers

__all__ = ['SSDExtraLayers']
