"""Checks the data set's files before the first iteration."""

from __future__ import annotations

import logging

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, Runner

from adasap_det.compat.annotation_errors import name_broken_annotations
from adasap_det.datasets.voc_check import VOCSplit, check_voc_layout, voc_splits


@HOOKS.register_module()
class DataCheckHook(Hook):
    """Ends a run at once with the names of the files if images or annotations are broken.

    Looks at the data sets in Pascal VOC's layout that the run will read; see
    :func:`adasap_det.datasets.voc_check.check_voc_layout` for what is checked, which takes seconds
    for a few thousand images. Other data sets are not checked. Only the main process checks.

    Takes priority over every hook that does work before the run.

    Args:
        enabled: False skips the check, for instance to rerun on a slow disk.
        decode: True decodes every image in full, False none, None those of lists of up to 1,000
            images and those that look truncated.
        max_shown: How many broken files the error names.
    """

    priority = 'VERY_HIGH'

    def __init__(
        self, *, enabled: bool = True, decode: bool | None = None, max_shown: int = 5
    ) -> None:
        self.enabled = enabled
        self.decode = decode
        self.max_shown = max_shown
        self._checked: set[VOCSplit] = set()
        # MMEngine builds the data sets, which parse the annotations, after it has built the hooks
        # and before it calls them: a broken annotation would end the run before `before_run`.
        name_broken_annotations()

    def before_run(self, runner: Runner) -> None:
        """Check the lists of the loops that are about to run."""
        if not self.enabled or not is_main_process():
            return
        for stage in ('train', 'val', 'test'):
            # Before a test, the loop for training is still a config.
            if isinstance(getattr(runner, f'_{stage}_loop'), BaseLoop):
                self._check(runner, stage)

    def _check(self, runner: Runner, stage: str) -> None:
        cfg = (runner.cfg.get(f'{stage}_dataloader') or {}).get('dataset') or {}
        splits = [split for split in voc_splits(cfg) if split not in self._checked]
        if not splits:
            return
        report = check_voc_layout(splits, decode=self.decode, max_shown=self.max_shown)
        self._checked.update(splits)
        print_log(
            f'{stage} data checked: {report.images} images, {report.boxes} boxes',
            logger='current',
        )
        if report.unknown_classes:
            names = ', '.join(f'{n} ({c})' for n, c in report.unknown_classes.most_common())
            print_log(
                f'{stage} data: boxes of classes that are not in metainfo are skipped: {names}',
                logger='current',
                level=logging.WARNING,
            )
