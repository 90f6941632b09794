"""Fine-tuning on some classes of a larger set of classes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ...arguments import Allowed, Name, check_arguments
from ...registry import HOOKS


@HOOKS.register_module()
class KeepFirstClassesHook(Hook):
    """Load those rows of a checkpoint's head that are of the model's classes.

    Without ``class_map``, they are the first rows. This is how the publication
    goes from ImageNet-22K to ImageNet-1K, with a set of 22K classes that begins
    with the 1K. Other sets are sorted differently, for example by the names of
    their folders. A checkpoint that names its classes, as those of our own
    trainings do, is therefore refused without ``class_map``. A head with fewer
    rows than the model's is left to the loader, which reports the mismatch.

    Source: Multi-Scale Vision Longformer (arXiv 2103.15358).

    Args:
        head (str): Name of the last linear layer. Defaults to ``'head.fc'``.
        class_map (str | Path | Sequence[str], optional): The names of the model's
            classes, in order, as the checkpoint has them, such as WordNet ids:
            a list, a text file whose lines begin with them, or a folder with
            one folder per class, such as ``'data/imagenet/train'``. Defaults to
            None: the first classes of a checkpoint that does not name them.
    """

    @check_arguments
    def __init__(
        self,
        head: Name = 'head.fc',
        class_map: Name | Path | Annotated[Sequence[str], Allowed(bool, '{}, at least one')] | None = None,
    ) -> None:
        self.head = head
        self.class_map = class_map

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Cut the head in ``checkpoint``, in place.

        Raises:
            FileNotFoundError: If ``class_map`` is neither a file nor a folder.
            ValueError: If the model has no linear layer of that name, or the
                classes cannot be told.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        own = model.state_dict()
        if f'{self.head}.weight' not in own:
            raise ValueError(f'head={self.head!r} must be the name of a linear layer of the model')
        num_classes = len(own[f'{self.head}.weight'])
        state_dict = checkpoint.get('state_dict', checkpoint)
        weight = state_dict.get(f'{self.head}.weight')
        if weight is None or len(weight) <= num_classes:
            return
        rows = torch.tensor(self._find_rows(checkpoint, len(weight), num_classes))
        kinds = 'first' if self.class_map is None else 'mapped'
        runner.logger.info(f'{self.head}: the {kinds} {num_classes} of {len(weight)} classes are loaded')
        for name in (f'{self.head}.weight', f'{self.head}.bias'):
            if name in state_dict:
                state_dict[name] = state_dict[name][rows]

    def _find_rows(self, checkpoint: dict, num_rows: int, num_classes: int) -> list[int]:
        """Find the rows of the model's classes in the head of a checkpoint."""
        known = ((checkpoint.get('meta') or {}).get('dataset_meta') or {}).get('classes')
        if self.class_map is None:
            if known:
                raise ValueError(
                    f'class_map=None takes the first {num_classes} classes of the checkpoint, but it names its own '
                    f'{len(known)}, which begin with {list(known[:3])}: let class_map name those of the model, such '
                    "as class_map='data/imagenet/train', or remove the hook"
                )
            return list(range(num_classes))
        wanted = self._read_class_map()
        if not known or len(known) != num_rows:
            named = f'{len(known)} classes' if known else 'no classes'
            raise ValueError(
                f'class_map={self.class_map!r} needs a checkpoint that names the {num_rows} classes of its head; this '
                f'one names {named}'
            )
        if len(wanted) != num_classes:
            raise ValueError(f'class_map={self.class_map!r} names {len(wanted)} classes; the model has {num_classes}')
        indices = {name: i for i, name in enumerate(known)}
        missing = [name for name in wanted if name not in indices]
        if missing:
            raise ValueError(
                f'class_map={self.class_map!r} names classes that the checkpoint lacks: {missing[:5]}, {len(missing)} '
                f"in all; the checkpoint's begin with {list(known[:3])}"
            )
        return [indices[name] for name in wanted]

    def _read_class_map(self) -> list[str]:
        """Read the names of the model's classes."""
        if not isinstance(self.class_map, (str, Path)):
            return list(self.class_map)
        path = Path(self.class_map)
        if path.is_dir():
            return sorted(entry.name for entry in path.iterdir() if entry.is_dir())
        if not path.is_file():
            raise FileNotFoundError(f'class_map={self.class_map!r} is neither a file nor a folder')
        return [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
