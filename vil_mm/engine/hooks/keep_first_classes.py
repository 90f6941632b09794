"""Fine-tuning on the first classes of a larger set of classes."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ...registry import HOOKS


@HOOKS.register_module()
class KeepFirstClassesHook(Hook):
    """Load the first rows of a checkpoint's head, as many as the model has classes.

    This is how the publication goes from ImageNet-22K to ImageNet-1K, with a
    set of 22K classes that begins with the 1K. A head with fewer rows than the
    model's is left to the loader, which reports the mismatch.

    Source: Multi-Scale Vision Longformer (arXiv 2103.15358).

    Args:
        head (str): Name of the last linear layer. Defaults to ``'head.fc'``.
    """

    def __init__(self, head: str = 'head.fc') -> None:
        self.head = head

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Cut the head in ``checkpoint``, in place.

        Raises:
            ValueError: If the model has no linear layer of that name.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        own = model.state_dict()
        if f'{self.head}.weight' not in own:
            raise ValueError(f'head={self.head!r} must be the name of a linear layer of the model')
        num_classes = len(own[f'{self.head}.weight'])
        state_dict = checkpoint.get('state_dict', checkpoint)
        for name in (f'{self.head}.weight', f'{self.head}.bias'):
            if name in state_dict and len(state_dict[name]) > num_classes:
                runner.logger.info(f'{name}: the first {num_classes} of {len(state_dict[name])} classes are loaded')
                state_dict[name] = state_dict[name][:num_classes]
