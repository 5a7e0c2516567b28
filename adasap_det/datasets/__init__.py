"""The embedded shapes data set, the download of Pascal VOC, and checks of data set files."""

from typing import TYPE_CHECKING

from adasap_det.utils.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from adasap_det.datasets import mapped_folder as mapped_folder
    from adasap_det.datasets import objectnet as objectnet
    from adasap_det.datasets import voc_check as voc_check
    from adasap_det.datasets.mapped_folder import MappedFolder
    from adasap_det.datasets.shapes import SHAPE_CLASSES, make_shapes_voc

__all__ = ['SHAPE_CLASSES', 'MappedFolder', 'make_shapes_voc']

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        'SHAPE_CLASSES': '.shapes',
        'MappedFolder': '.mapped_folder',
        'make_shapes_voc': '.shapes',
        **dict.fromkeys(('mapped_folder', 'objectnet', 'voc_check'), '.'),
    },
)
