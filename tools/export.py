"""Write a dense or a pruned checkpoint as an ONNX file; see ``--help``."""

from __future__ import annotations

import sys

from adasap_det.cli.export import main

if __name__ == '__main__':
    sys.exit(main())
