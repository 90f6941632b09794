"""Compare the parameters of a tested model with those of its checkpoint."""

from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import BaseLoop, Runner

from ...registry import HOOKS


@HOOKS.register_module()
class CheckParametersHook(Hook):
    """Stop a test if the checkpoint lacks parameters of the model, which would be tested with initial values."""

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the names of the parameters.

        Raises:
            ValueError: If some are missing. The message names the first one.
        """
        if not isinstance(runner._test_loop, BaseLoop):  # a training, which may start from a part of the weights
            return
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        held = {name.removeprefix('module.') for name in checkpoint.get('state_dict', checkpoint)}
        missing = [name for name, _ in model.named_parameters() if name not in held]
        if missing:
            raise ValueError(
                f'{runner._load_from} lacks {len(missing)} parameters of the model, such as {missing[0]}: test it with '
                'the config that it was trained with, or convert it first if it is a published file'
            )
