"""Corrupted benchmarks: build them, measure P, mPC and rPC on them, and report the results.

The corruptions and the builder need NumPy, SciPy, OpenCV and Pillow, not OpenMMLab.
"""

from typing import TYPE_CHECKING

from adasap_det.utils.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from .benchmark import build_benchmark
    from .corruptions import corrupt

__all__ = ['build_benchmark', 'corrupt']

__getattr__, __dir__ = lazy_exports(
    __name__, {'build_benchmark': '.benchmark', 'corrupt': '.corruptions'}
)
