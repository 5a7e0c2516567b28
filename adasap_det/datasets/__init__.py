"""Data: the embedded shapes data set, Pascal VOC's download and checks of a data set's files."""

from adasap_det.datasets.mapped_folder import MappedFolder
from adasap_det.datasets.shapes import SHAPE_CLASSES, make_shapes_voc

__all__ = ['SHAPE_CLASSES', 'MappedFolder', 'make_shapes_voc']
