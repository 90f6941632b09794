"""Stop a run at the first label that is no class of its model."""

from typing import NamedTuple

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from ...registry import HOOKS


class Head(NamedTuple):
    """A head of a model, which has the labels from 0 on.

    Args:
        name (str): Its name in the model.
        field (str): The field of a data sample that holds its labels.
        number (int): Number of its labels.
        ignored (int, optional): The label that its loss ignores. Defaults to
            None.
    """

    name: str
    field: str
    number: int
    ignored: int | None = None


@HOOKS.register_module()
class CheckLabelsHook(Hook):
    """Stop a training at the first label that the model's head does not have.

    Otherwise, such a label ends the run in an error that does not name the
    image, or counts as background. Labels of images, objects and pixels are
    checked in every batch, before it is moved to a GPU, so that no GPU is
    waited for. Label maps are checked in validation and tests too, where mmseg
    would leave out such pixels.
    """

    def before_run(self, runner: Runner) -> None:
        """Find the head."""
        model = runner.model
        while is_model_wrapper(model):
            model = model.module
        self.head = find_head(model)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Check the labels of a batch.

        Raises:
            ValueError: If the head does not have one. The message names the
                image, the label and the allowed ones.
        """
        samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
        if self.head is None or not isinstance(samples, (list, tuple)):
            return
        name, field, number, ignored = self.head
        for sample in samples:
            labels = getattr(sample, field, None)
            labels = getattr(labels, 'labels', getattr(labels, 'data', labels))  # of objects, or of pixels
            if not isinstance(labels, Tensor):
                continue
            wrong = (labels < 0) | (labels >= number)
            if ignored is not None:
                wrong &= labels != ignored
            if wrong.any():
                found = labels[wrong].unique().tolist()
                allowed = '' if ignored is None else f', or {ignored}, to be ignored'
                path = getattr(sample, 'seg_map_path', None) or getattr(sample, 'img_path', 'an image')
                raise ValueError(
                    f'{path} has label {", ".join(map(str, found[:8]))}, but {name} has {number} classes, '
                    f'0 to {number - 1}{allowed}: correct the labels, or num_classes'
                )

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Check the label maps of a batch; errors as in training."""
        if self.head is not None and self.head.field == 'gt_sem_seg':
            self.before_train_iter(runner, batch_idx, data_batch)

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Check the label maps of a batch; errors as in training."""
        self.before_val_iter(runner, batch_idx, data_batch)


def find_head(model: nn.Module) -> Head | None:
    """Find the head that tells the labels of a classifier, detector or segmenter; None if there is none."""
    if hasattr(model, 'language_model'):  # its classes are words
        return None
    for name in ('decode_head', 'head', 'roi_head.bbox_head', 'bbox_head', 'panoptic_head', 'mask_head'):
        head = model
        for part in name.split('.'):
            head = getattr(head, part, None)
        if isinstance(head, nn.ModuleList) and len(head):  # a cascade, whose stages have the same classes
            head = head[-1]
        number = getattr(head, 'num_things_classes', getattr(head, 'num_classes', None))
        # a region proposal network has one class, whatever the labels
        if not isinstance(number, int) or any('RPNHead' in base.__name__ for base in type(head).__mro__):
            continue
        if name != 'decode_head':
            return Head(name, 'gt_label' if name == 'head' else 'gt_instances', number)
        one_channel = getattr(head, 'out_channels', None) == 1  # for the foreground, which is label 1
        return Head(name, 'gt_sem_seg', max(number, 2 * one_channel), getattr(head, 'ignore_index', 255))
    return None
