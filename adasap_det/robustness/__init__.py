"""Corrupted benchmarks: build them, measure P, mPC and rPC on them, and report the results.

The corruptions and the builder need NumPy, SciPy, OpenCV and Pillow, not OpenMMLab.
"""

from typing import TYPE_CHECKING

from adasap_det.utils.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from . import benchmark as benchmark
    from . import corruptions as corruptions
    from . import evaluation as evaluation
    from . import per_image as per_image
    from . import results as results
    from . import transforms as transforms
    from .benchmark import build_benchmark
    from .corruptions import corrupt

__all__ = ['build_benchmark', 'corrupt']

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        'build_benchmark': '.benchmark',
        'corrupt': '.corruptions',
        **dict.fromkeys(
            ('benchmark', 'corruptions', 'evaluation', 'per_image', 'results', 'transforms'), '.'
        ),
    },
)
