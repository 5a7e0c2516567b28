"""Print how far perturbations raise the loss; see ``--help``."""

from __future__ import annotations

import sys

from adasap_det.cli.measure_rise import main

if __name__ == '__main__':
    sys.exit(main())
