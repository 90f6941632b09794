"""Accuracy with the reassessed labels of ImageNet."""

import re
from collections.abc import Sequence
from typing import Annotated, Any

from .._extras import require

require('mmpretrain')

import torch  # noqa: E402
from mmengine.fileio import load  # noqa: E402
from mmpretrain.evaluation import Accuracy  # noqa: E402

from ..arguments import NOT_EMPTY, Name, Size, check_arguments  # noqa: E402
from ..registry import METRICS  # noqa: E402


@METRICS.register_module()
class ImageNetReaL(Accuracy):
    """Top-k accuracy on ImageNet-1K's validation images with their reassessed labels (ReaL).

    Each image has a set of labels, any of which is right. Images whose set is
    empty do not count. The original labels are not used.

    Source: Are we done with ImageNet? (arXiv 2006.07159).

    Args:
        ann_file (str): The published ``real.json``: a list with a list of
            labels for each image, in the order of the images' numbers.
        topk (int | Sequence[int]): An image counts as right if one of its
            labels is among the ``k`` highest scores. Defaults to 1.
        **kwargs: ``collect_device`` and ``prefix`` of mmengine's metrics.

    Raises:
        ValueError: If ``ann_file`` is not such a list, or if an image's name
            does not end in its number in ImageNet, as in
            ``ILSVRC2012_val_00000293.JPEG``.
    """

    default_prefix = 'real'

    @check_arguments
    def __init__(self, ann_file: Name, topk: Size | Annotated[Sequence[Size], NOT_EMPTY] = 1, **kwargs) -> None:
        super().__init__(topk, **kwargs)
        self.ann_file = ann_file
        try:
            self.labels = load(ann_file)
        except Exception as error:  # of many kinds, by the file's format and storage
            raise ValueError(f'ann_file={ann_file!r} cannot be read: {error}') from error
        if not isinstance(self.labels, list) or not all(isinstance(labels, list) for labels in self.labels):
            raise ValueError(f'ann_file={ann_file} must be real.json, a list with a list of labels for each image')

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Find out which of an image's best classes are among its labels.

        Args:
            data_batch: A batch of the data loader; not used.
            data_samples (Sequence[dict]): Predictions, with ``img_path`` and
                ``pred_score``, the scores of all classes.
        """
        for sample in data_samples:
            labels = self._find_labels(sample['img_path'])
            best = sample['pred_score'].cpu().topk(max(self.topk)).indices
            # None of an image that does not count: the results of several processes are put in order by their number
            self.results.append(torch.isin(best, torch.tensor(labels)) if labels else None)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the accuracies, in percent.

        Args:
            results (list): For each image, which of its best classes are right.

        Raises:
            ValueError: If no image has labels.
        """
        hits = [hit for hit in results if hit is not None]
        if not hits:
            raise ValueError(f'{self.ann_file} has no labels for any of the {len(results)} images')
        right = torch.stack(hits)
        return {f'top{k}': 100 * right[:, :k].any(dim=1).double().mean().item() for k in self.topk}

    def _find_labels(self, path: str) -> list[int]:
        number = re.search(r'ILSVRC2012_val_(\d{8})\.\w+$', path)
        if number is None or not 1 <= int(number[1]) <= len(self.labels):
            raise ValueError(
                f'{path} must be named as in ImageNet, ILSVRC2012_val_00000001.JPEG to {len(self.labels):08d}: '
                f'{self.ann_file} has the labels by number'
            )
        return self.labels[int(number[1]) - 1]
