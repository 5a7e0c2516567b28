"""AdaSAP, Adaptive Sharpness-Aware Pruning, for MMDetection and MMEngine.

Importing the package registers its optimizer wrappers, hooks, data sets and transforms.
"""

from importlib import import_module as _import_module
from pathlib import Path as _Path

from . import compat
from .compat import config_path

__version__ = '0.1.0'
__all__ = ['__version__', 'config_path']

# Before anything imports mmdet, which needs MMCV's operators at import time.
compat.apply()

for _name in ('optim', 'hooks', 'datasets'):
    if (_Path(__file__).parent / _name / '__init__.py').is_file():
        _import_module(f'{__name__}.{_name}')
