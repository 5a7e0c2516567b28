"""Build a corrupted benchmark, such as VOC-C; see ``--help``."""

from __future__ import annotations

import sys

from adasap_det.cli.make_voc_c import main

if __name__ == '__main__':
    sys.exit(main())
