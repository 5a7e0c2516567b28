"""Shared by the parsers: common options and usage errors. Imports neither PyTorch nor MMEngine."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable
from typing import Any

from adasap_det.utils.missing_data_error import MissingDataError


class UsageError(ValueError):
    """Error in the command or the config; the message says how to correct it."""


def report_usage_errors(program: str, command: Callable[[], None]) -> int:
    """Run a command; report a usage error as one line on stderr.

    A process group that the command joined is destroyed after it succeeds.

    Returns:
        Exit status: 0, or 2 after a usage error. Other exceptions are raised.
    """
    try:
        command()
    except (UsageError, MissingDataError) as error:
        print(f'{program}: error: {error}', file=sys.stderr)
        return 2
    leave_process_group()
    return 0


def leave_process_group() -> None:
    """Destroy the process group, if there is one, before the interpreter shuts down.

    The threads of gloo hold Python objects: during shutdown one of them may abort the process or
    wait for ever. Do not call it after a failure, when the other ranks may never reach it.
    """
    dist = sys.modules.get('torch.distributed')
    if dist is None or not (dist.is_available() and dist.is_initialized()):
        return
    # The runner and its DDP module, which hold the group, are in reference cycles.
    gc.collect()
    dist.barrier()
    dist.destroy_process_group()


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add the options shared by training and testing, with MMDetection's names."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=_DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config. Lists are written key="[a,b]" or key=a,b, nested '
        'lists key="[(a,b),(c,d)]", with the quotation marks and without spaces',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='launcher of a distributed job (default: none)',
    )
    # torch.distributed.launch passes one spelling or the other, depending on its version.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


class _DictAction(argparse.Action):
    """MMEngine's action, imported when the option is given."""

    def __call__(self, parser: argparse.ArgumentParser, *args: Any) -> None:
        from mmengine.config import DictAction

        DictAction(self.option_strings, self.dest, nargs=self.nargs)(parser, *args)
