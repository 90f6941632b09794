"""Draw predictions during testing."""

from collections.abc import Sequence
from pathlib import Path

import mmcv
import numpy as np
from mmengine.fileio import exists, get
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor

from ...registry import HOOKS


@HOOKS.register_module()
class DrawPredictionsHook(Hook):
    """Draw what a classifier, detector or segmenter predicts for each test image, with its library's visualizer.

    Each library has a hook for this, but they differ in where the pictures go.

    Args:
        out_dir (str | Path): The folder to write to. The picture of
            ``.../<folder>/<name>.jpg`` is ``<folder>/<name>.png`` in it. Images
            that are not in files of their own are drawn as the model gets them;
            if they have no names either, their pictures are named by the batch
            and the place in it.
    """

    def __init__(self, out_dir: str | Path) -> None:
        self.out_dir = Path(out_dir)

    def before_test(self, runner: Runner) -> None:
        """Warn that pictures will be missing if there are several processes: only the first one draws."""
        if runner.world_size > 1:
            runner.logger.warning(f'{self.out_dir} will only get pictures of the images that the first process tests')

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: Sequence | None = None
    ) -> None:
        """Draw the images of a batch."""
        for place, sample in enumerate(outputs):
            name = sample.get('img_path') or f'images/{batch_idx:05d}-{place:03d}'
            path = Path(name)
            if exists(name):
                image = mmcv.imfrombytes(get(name), channel_order='rgb')
            else:
                image = self._as_the_model_gets_it(runner, data_batch['inputs'][place])
            target = str(self.out_dir / path.parent.name / f'{path.stem}.png')
            if hasattr(runner.visualizer, 'visualize_cls'):  # mmpretrain's
                runner.visualizer.visualize_cls(image, sample, out_file=target)
            else:
                runner.visualizer.add_datasample(path.name, image, data_sample=sample, out_file=target)

    @staticmethod
    def _as_the_model_gets_it(runner: Runner, image: Tensor) -> np.ndarray:
        """Turn an input ``(C, H, W)`` into an image ``(H, W, 3)`` in RGB."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        pixels = image.expand(3, -1, -1).permute(1, 2, 0).cpu().numpy()
        return pixels[..., ::-1] if getattr(model.data_preprocessor, 'to_rgb', False) else pixels
