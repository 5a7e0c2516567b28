"""Train, prune and fine-tune a model; see ``--help``."""

from __future__ import annotations

import sys

from adasap_det.cli.train import main

if __name__ == '__main__':
    sys.exit(main())
