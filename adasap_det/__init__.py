"""AdaSAP, Adaptive Sharpness-Aware Pruning, for MMDetection and MMEngine.

Importing the package registers its optimizer wrappers, hooks, data sets and transforms, and applies
the patches of :mod:`adasap_det.compat`: both as soon as they are needed, so that the import takes
milliseconds and works where OpenMMLab is not installed.
"""

from typing import TYPE_CHECKING

from . import compat
from .compat.post_import import after_import
from .registration import register_on_first_lookup
from .utils.lazy_exports import lazy_exports
from .utils.shipped_configs import config_path

if TYPE_CHECKING:
    from . import checkpoint as checkpoint
    from . import datasets as datasets
    from . import hooks as hooks
    from . import models as models
    from . import optim as optim
    from . import pruning as pruning
    from . import registry as registry
    from . import robustness as robustness
    from .checkpoint.loading import load_pruned
    from .checkpoint.safetensors_file import structure_metadata
    from .hooks.elastic_training import ElasticTraining
    from .pruning import Pruner
    from .utils.recalibration import recalibrate

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

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        'ElasticTraining': '.hooks.elastic_training',
        'Pruner': '.pruning',
        'load_pruned': '.checkpoint.loading',
        'recalibrate': '.utils.recalibration',
        'structure_metadata': '.checkpoint.safetensors_file',
        **dict.fromkeys(
            (
                *('checkpoint', 'datasets', 'hooks', 'models', 'optim', 'pruning', 'registry'),
                'robustness',
            ),
            '.',
        ),
    },
)

compat.apply()
after_import('mmengine.registry', register_on_first_lookup)
