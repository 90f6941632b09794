"""Compare the parameters of a tested model with those of its checkpoint."""

from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import BaseLoop, Runner

from ...registry import HOOKS


@HOOKS.register_module()
class CheckParametersHook(Hook):
    """Stop a test if the checkpoint lacks parameters of the model, which would be tested with initial values.

    A training may start from a part of the parameters, but not from none.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the names of the parameters.

        Raises:
            ValueError: If some are missing, or all of them in a training. The
                message names the first one.
        """
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        held = {name.removeprefix('module.') for name in checkpoint.get('state_dict', checkpoint)}
        missing = [name for name, _ in model.named_parameters() if name not in held]
        testing = isinstance(runner._test_loop, BaseLoop)
        # FlexibleRunner may name the parameters otherwise
        if not testing and isinstance(runner, Runner) and len(missing) == sum(1 for _ in model.parameters()):
            raise ValueError(
                f'{runner._load_from} holds no parameter of the model, such as {missing[0]}, but others, such as '
                f'{min(held, default=None)}: convert it first if it is a published file, or correct load_from'
            )
        if testing and missing:
            raise ValueError(
                f'{runner._load_from} lacks {len(missing)} parameters of the model, such as {missing[0]}: test it with '
                'the config that it was trained with, or convert it first if it is a published file'
            )
