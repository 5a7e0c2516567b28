"""Export of models to runtimes without this package, and their speed."""

from .graphs import DecodedDetector, RawNetwork, make_graph
from .onnx import export_onnx

__all__ = ['DecodedDetector', 'RawNetwork', 'export_onnx', 'make_graph']
