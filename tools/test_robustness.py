"""Evaluate a dense or a pruned checkpoint on corrupted images; see ``--help``."""

from __future__ import annotations

import sys

from adasap_det.cli.test_robustness import main

if __name__ == '__main__':
    sys.exit(main())
