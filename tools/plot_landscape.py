"""Compare the loss around the weights of checkpoints; see ``--help``."""

from __future__ import annotations

import sys

from adasap_det.cli.plot_landscape import main

if __name__ == '__main__':
    sys.exit(main())
