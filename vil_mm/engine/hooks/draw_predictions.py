"""Draw predictions while testing."""

from collections.abc import Sequence
from pathlib import Path

import mmcv
from mmengine.fileio import get
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...registry import HOOKS


@HOOKS.register_module()
class DrawPredictionsHook(Hook):
    """Draw what a classifier, detector or segmenter sees in each test image, by its library's visualizer.

    The libraries have hooks of their own for this, each with other rules on
    where the pictures go.

    Args:
        out_dir (str | Path): The folder to write to: ``<folder>/<name>.png``
            for an image of that name in a folder of that name.
    """

    def __init__(self, out_dir: str | Path) -> None:
        self.out_dir = Path(out_dir)

    def before_test(self, runner: Runner) -> None:
        """Say what will be missing: the libraries draw in the first process only."""
        if runner.world_size > 1:
            runner.logger.warning(f'{self.out_dir}: only the images that the first process tests are drawn')

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: Sequence | None = None
    ) -> None:
        """Draw the images of a batch."""
        for sample in outputs:
            path = Path(sample.img_path)
            image = mmcv.imfrombytes(get(sample.img_path), channel_order='rgb')
            target = str(self.out_dir / path.parent.name / f'{path.stem}.png')
            if hasattr(runner.visualizer, 'visualize_cls'):  # mmpretrain's
                runner.visualizer.visualize_cls(image, sample, out_file=target)
            else:
                runner.visualizer.add_datasample(path.name, image, data_sample=sample, out_file=target)
