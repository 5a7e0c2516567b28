"""Time dense and pruned checkpoints, in alternation; see ``--help``."""

from __future__ import annotations

import sys

from adasap_det.cli.benchmark import main

if __name__ == '__main__':
    sys.exit(main())
