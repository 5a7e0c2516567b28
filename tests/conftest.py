"""Every test sees the package registered, and MMCV's operators in place, before MMDetection."""

import adasap_det  # noqa: F401
