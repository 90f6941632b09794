"""Resume a run so that it ends as if it had not been interrupted."""

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from ...registry import HOOKS
from ..fetching import fetcher_of
from ..randomness import random_states, set_random_states

#: What the data loader of the rest of an epoch takes from that of whole epochs.
SHARED = (
    *('num_workers', 'collate_fn', 'pin_memory', 'timeout', 'worker_init_fn', 'multiprocessing_context', 'generator'),
    'prefetch_factor',
)


class RestOfEpoch:
    """A batch sampler without the batches that a run has seen already.

    Args:
        batches: The batch sampler of the whole epoch.
        done (int): Number of batches to leave out.
    """

    def __init__(self, batches: Any, done: int) -> None:
        self.batches = batches
        self.done = done
        # mmengine tells the sampler the number of the epoch
        self.sampler = batches.sampler
        self.batch_size = batches.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        return itertools.islice(self.batches, self.done, None)

    def __len__(self) -> int:
        """Count the batches of the whole epoch, on which schedules depend."""
        return len(self.batches)


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Make a resumed run end with the weights of a run that was not interrupted.

    The states of the random generators and the sampler's seed are taken from
    the checkpoint, if ``vil_mm.SafeCheckpointHook`` wrote it. A run that was
    interrupted within an epoch goes on with the next batch. Validation leaves
    the generators as they were, because a resumed run does not repeat it.

    Worker processes of the data loader must not outlive an epoch that is
    counted (``persistent_workers=False``), which the tools see to.
    """

    # after hooks that may draw random numbers before the first iteration
    priority = 'LOW'

    def __init__(self) -> None:
        self.states: list[dict] | None = None
        self.whole: DataLoader | None = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Save the sampler's seed."""
        checkpoint['meta']['sampler_seed'] = getattr(sampler_of(runner.train_dataloader), 'seed', None)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take the states, and set the sampler's seed."""
        if not runner._resume:
            return
        meta = checkpoint['meta']
        states = meta.get('random_states')
        if states is None or meta.get('sampler_seed') is None:
            runner.logger.warning(
                f'{runner._load_from} holds no states of random generators: images and augmentations will be others '
                'than without the interruption'
            )
            return
        sampler_of(runner.train_dataloader).seed = meta['sampler_seed']
        if len(states) == runner.world_size:
            self.states = states

    def before_train(self, runner: Runner) -> None:
        """Number the batches, and let the data loader draw from a generator of its own when it starts."""
        loader = runner.train_dataloader
        loader.generator = torch.Generator()
        self.fetcher = fetcher_of(loader.dataset)
        self.fetcher.seeds = runner.seed, runner.rank

    def before_train_epoch(self, runner: Runner) -> None:
        """Go on where the run was interrupted."""
        self.fetcher.first = runner.iter
        loader = runner.train_dataloader
        done = runner.iter - runner.epoch * len(loader)
        if done and not isinstance(runner.train_loop, IterBasedTrainLoop):
            runner.logger.info(f'the first {done} iterations of epoch {runner.epoch + 1} are done already')
            self.whole = loader
            runner.train_loop.dataloader = DataLoader(
                loader.dataset,
                batch_sampler=RestOfEpoch(loader.batch_sampler, done),
                **{name: getattr(loader, name) for name in SHARED},
            )
        if self.states is not None:
            set_random_states(self.states[runner.rank])
            self.states = None

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Number the batches from here, if the worker processes start again."""
        self.fetcher.first = runner.iter + 1

    def after_train_epoch(self, runner: Runner) -> None:
        """Return to whole epochs."""
        if self.whole is not None:
            runner.train_loop.dataloader, self.whole = self.whole, None

    def before_val_epoch(self, runner: Runner) -> None:
        """Keep the states."""
        self.kept = random_states()

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Set the states."""
        set_random_states(self.kept)


def sampler_of(loader: DataLoader) -> Any:
    """Return the sampler of a data loader, which may be within a batch sampler."""
    return getattr(loader.batch_sampler, 'sampler', loader.sampler)
