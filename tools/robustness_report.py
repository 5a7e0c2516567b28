"""Compare evaluated models on one page; see ``--help``."""

from __future__ import annotations

import sys

from adasap_det.cli.robustness_report import main

if __name__ == '__main__':
    sys.exit(main())
