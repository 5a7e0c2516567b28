"""The embedded shapes data set, the download of Pascal VOC, and checks of data set files."""

from adasap_det.datasets.mapped_folder import MappedFolder
from adasap_det.datasets.shapes import SHAPE_CLASSES, make_shapes_voc

__all__ = ['SHAPE_CLASSES', 'MappedFolder', 'make_shapes_voc']
