"""AdaSAP, Adaptive Sharpness-Aware Pruning, for MMDetection and MMEngine.

Importing the package registers its optimizer wrappers, hooks, data sets and transforms.
"""

from . import compat
from .utils.shipped_configs import config_path

__version__ = '0.1.0'
__all__ = [
    'ElasticTraining',
    'Pruner',
    '__version__',
    'config_path',
    'load_pruned',
    'recalibrate',
    'structure_metadata',
]

# Before anything imports mmdet, which needs MMCV's operators at import time.
compat.apply()

from . import datasets, hooks, optim, pruning  # noqa: E402, F401
from .checkpoint import atomic_backend as _atomic_backend  # noqa: E402, F401
from .checkpoint.loading import load_pruned  # noqa: E402
from .checkpoint.safetensors_file import structure_metadata  # noqa: E402
from .compat.shrink_on_load import install_shrink_on_load as _install  # noqa: E402
from .hooks.elastic_training import ElasticTraining  # noqa: E402
from .pruning import Pruner  # noqa: E402
from .robustness import transforms as _transforms  # noqa: E402, F401
from .robustness.evaluation import accuracy as _accuracy  # noqa: E402, F401
from .robustness.evaluation import average_precision as _average_precision  # noqa: E402, F401
from .utils.recalibration import recalibrate  # noqa: E402

_install()

try:
    from . import models  # noqa: F401
except ImportError as _error:
    if (_error.name or '').partition('.')[0] != 'mmcv':
        raise
    # Parts of detectors have no use where MMCV is missing; the rest has.
