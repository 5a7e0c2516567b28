"""Download, verify and unpack Pascal VOC; see ``--help``."""

from __future__ import annotations

import sys

from adasap_det.datasets.prepare_voc import main

if __name__ == '__main__':
    sys.exit(main())
