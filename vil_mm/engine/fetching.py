"""Reading the samples of a batch."""

import logging
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from torch.utils.data import get_worker_info

#: So many images in a row that cannot be read stop also a run that skips them.
MOST_IN_A_ROW = 100


class BatchFetcher:
    """What a data loader calls for the samples of a batch, in place of indexing its dataset.

    An error names the image of the sample. In worker processes, each batch has
    a seed of its own, so that a resumed run augments the images like one that
    was not interrupted.

    Args:
        dataset (Dataset): The dataset.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        #: Seeds of the run and the process; None leaves the generators of the worker processes alone.
        self.seeds: tuple[int, int] | None = None
        #: Number of the first batch, counted from the beginning of the training.
        self.first = 0
        #: Number of images that each worker process has skipped; None stops at the first bad image.
        self.skipped: torch.Tensor | None = None
        self.calls = 0

    def __call__(self, indices: Sequence[int]) -> list:
        """Read the samples of a batch.

        Args:
            indices (Sequence[int]): Their indices.

        Raises:
            OSError: If a sample cannot be read. The message names its image.
        """
        worker = get_worker_info()
        if worker is not None and self.seeds is not None:
            # data loaders deal the batches to their workers in turn
            batch = self.first + self.calls * worker.num_workers + worker.id
            seed = int(np.random.SeedSequence((*self.seeds, batch)).generate_state(1)[0])
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
        self.calls += 1
        return [self._read(index, worker.id if worker else 0) for index in indices]

    def _read(self, index: int, worker: int) -> object:
        """Read a sample or, if bad images are skipped, the next one that can be read."""
        for place in range(index, index + MOST_IN_A_ROW):
            place %= len(self.dataset)
            try:
                return self.dataset[place]
            except Exception as error:
                message = f'{name_sample(self.dataset, place)} cannot be read: {type(error).__name__}: {error}'
                if self.skipped is None or not is_bad(self.dataset, place):
                    raise OSError(message) from error
            self.skipped[worker] += 1
            print_log(f'skipped: {message}', 'current', logging.WARNING)
        raise OSError(f'{MOST_IN_A_ROW} images in a row cannot be read, the last of which is: {message}')


def fetcher_of(dataset: Any) -> BatchFetcher:
    """Return the fetcher of a dataset, which gets one if it has none."""
    # data loaders look for this method
    fetcher = getattr(dataset, '__getitems__', None)
    if not isinstance(fetcher, BatchFetcher):
        fetcher = dataset.__getitems__ = BatchFetcher(dataset)
    return fetcher


def name_sample(dataset: Any, index: int) -> str:
    """Name the image of a sample by its path, and other samples by their number."""
    try:
        return dataset.get_data_info(index)['img_path']
    except Exception:  # datasets differ in what they know of a sample
        return f'sample {index} of {type(dataset).__name__}'


def is_bad(dataset: Any, index: int) -> bool:
    """Tell whether a sample's files are the reason why it cannot be read, not the steps that follow the loading."""
    inner = dataset
    while not hasattr(inner, 'pipeline'):
        inner = inner.dataset if hasattr(inner, 'dataset') else inner.datasets[0]
    sample = dataset.get_data_info(index)
    try:
        for step in inner.pipeline.transforms:
            if not type(step).__name__.startswith('Load'):
                return False
            sample = step(sample)
    except Exception:  # the libraries raise many kinds
        return True
    return False
