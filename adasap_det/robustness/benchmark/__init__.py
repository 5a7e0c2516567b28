"""Build and verify corrupted benchmarks, such as VOC-C from Pascal VOC."""

from adasap_det.robustness.benchmark.build import build_benchmark
from adasap_det.robustness.benchmark.coco_source import coco_source
from adasap_det.robustness.benchmark.errors import BenchmarkError
from adasap_det.robustness.benchmark.executors import dask_executor
from adasap_det.robustness.benchmark.folder_source import folder_source
from adasap_det.robustness.benchmark.manifest import Manifest, cell_root, read_manifest
from adasap_det.robustness.benchmark.options import Options, make_options
from adasap_det.robustness.benchmark.run import BuildReport
from adasap_det.robustness.benchmark.source_images import Source, choose_subset
from adasap_det.robustness.benchmark.verify import VerifyReport, verify_benchmark
from adasap_det.robustness.benchmark.voc_source import voc_source

__all__ = [
    'BenchmarkError',
    'BuildReport',
    'Manifest',
    'Options',
    'Source',
    'VerifyReport',
    'build_benchmark',
    'cell_root',
    'choose_subset',
    'coco_source',
    'dask_executor',
    'folder_source',
    'make_options',
    'read_manifest',
    'verify_benchmark',
    'voc_source',
]
