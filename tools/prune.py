"""Prune a trained checkpoint without training; see ``--help``."""

from __future__ import annotations

import sys

from adasap_det.cli.prune import main

if __name__ == '__main__':
    sys.exit(main())
