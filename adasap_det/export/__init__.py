"""Models as graphs that run without this package, and how fast they run."""

from .graphs import DecodedDetector, RawNetwork, make_graph
from .onnx import export_onnx

__all__ = ['DecodedDetector', 'RawNetwork', 'export_onnx', 'make_graph']
