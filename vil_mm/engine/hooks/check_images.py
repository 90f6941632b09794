"""Name images that cannot be read, or skip them."""

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...arguments import check_arguments
from ...registry import HOOKS
from ..fetching import fetcher_of


@HOOKS.register_module()
class CheckImagesHook(Hook):
    """Stop a run at the first image that cannot be read, with its path.

    Args:
        skip_bad (bool): Whether to take the next image instead in training, and
            log the path and, after each epoch, the number. In validation and
            tests, whose result would be another, a bad image still stops the
            run. Defaults to False.
    """

    @check_arguments
    def __init__(self, skip_bad: bool = False) -> None:
        self.skip_bad = skip_bad

    def before_train(self, runner: Runner) -> None:
        """Take over the reading of samples."""
        loader = runner.train_dataloader
        self.fetcher = fetcher_of(loader.dataset)
        if self.skip_bad:
            self.fetcher.skipped = torch.zeros(max(loader.num_workers, 1), dtype=torch.int64).share_memory_()

    def after_train_epoch(self, runner: Runner) -> None:
        """Log how many images were skipped."""
        skipped = self.fetcher.skipped
        if skipped is not None and skipped.any():
            runner.logger.warning(f'{int(skipped.sum())} images could not be read and were skipped in this epoch')
            skipped.zero_()

    def before_val(self, runner: Runner) -> None:
        """Take over the reading of samples."""
        fetcher_of(runner.val_dataloader.dataset)

    def before_test(self, runner: Runner) -> None:
        """Take over the reading of samples."""
        fetcher_of(runner.test_dataloader.dataset)
