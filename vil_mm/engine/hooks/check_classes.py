"""Compare the classes of a test set with those that a checkpoint was trained with."""

from collections import Counter
from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner

from ...registry import HOOKS


@HOOKS.register_module()
class CheckClassesHook(Hook):
    """Stop a test if a class has another label in the test set than in training.

    Folders of classes, for example, get their labels in alphabetical order, so
    a folder of another name moves those of the others. Names that only one of
    the two has are not compared, because a class may have several names.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the classes.

        Raises:
            ValueError: If they differ. The message names the first one.
        """
        if not isinstance(runner._test_loop, BaseLoop):  # a training, which may start from weights for other classes
            return
        trained = unique_places(((checkpoint.get('meta') or {}).get('dataset_meta') or {}).get('classes') or ())
        for name, label in unique_places(runner.test_dataloader.dataset.metainfo.get('classes') or ()).items():
            if trained.get(name, label) != label:
                raise ValueError(
                    f'test_dataloader: the class {name!r} has label {label}, but {trained[name]} in the training '
                    f'of {runner._load_from}: name the same classes, in the same order'
                )


def unique_places(names: Sequence[str]) -> dict[str, int]:
    """Find the place of each name, except for those that come twice, such as ImageNet's cranes."""
    counts = Counter(names)
    return {name: place for place, name in enumerate(names) if counts[name] == 1}
