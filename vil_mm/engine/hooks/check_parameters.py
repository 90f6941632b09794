"""Compare the tensors of a model with those of the checkpoint that a run loads."""

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...arguments import Name, check_arguments
from ...models.base import BaseBackbone
from ...models.layers import CheckpointError, compare
from ...registry import HOOKS
from ..checkpoint import state_dict_of
from ..fitting import check_fit, unwrap


@HOOKS.register_module()
class CheckParametersHook(Hook):
    """Stop a test whose checkpoint does not fit the model, parts of which would be tested with initial values.

    A training may start from a part of the parameters, but not from none; it
    says what it has loaded.

    Args:
        allow_partial (Sequence[str]): Names of tensors, or of modules of the
            model, that need not fit in a test. Defaults to ().
    """

    # before the hooks that take for granted what the checkpoint holds
    priority = 'HIGHEST'

    @check_arguments
    def __init__(self, allow_partial: Sequence[Name] = ()) -> None:
        self.allow_partial = allow_partial
        self._loaded: dict | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check that it holds tensors, and enough of the backbone's; other hooks may still adapt the head's.

        Raises:
            CheckpointError: If it does not.
        """
        state_dict = state_dict_of(checkpoint, runner._load_from)
        # the tensors, which FlexibleRunner takes out of the checkpoint
        self._loaded = checkpoint.get('state_dict', checkpoint)
        if runner._resume:
            return  # FollowScheduleHook compares all tensors, and the configs
        for name, module in unwrap(runner.model).named_modules():
            if isinstance(module, BaseBackbone) and isinstance(runner, Runner):  # FlexibleRunner may rename parameters
                try:
                    module.check_checkpoint(state_dict, f'{name}.')
                except CheckpointError as error:
                    raise CheckpointError(f'{runner._load_from}: {error}') from error

    def before_test(self, runner: Runner) -> None:
        """Compare all tensors.

        Raises:
            CheckpointError: If they do not fit.
        """
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            check_fit(runner.model, loaded, runner._load_from, self.allow_partial)

    def before_train(self, runner: Runner) -> None:
        """Log what was loaded.

        Raises:
            CheckpointError: If it was nothing.
        """
        loaded, self._loaded = self._loaded, None
        if loaded is None or not isinstance(runner, Runner):
            return
        model, state_dict = unwrap(runner.model), state_dict_of(loaded, runner._load_from)
        comparison = compare(model, state_dict)
        found = {*comparison.fitting, *comparison.resized}
        names = [name for name, _ in model.named_parameters()]
        if not found.intersection(names):
            raise CheckpointError(
                f'{runner._load_from} holds no parameter of the model, such as {names[0]}, but others, such as '
                f'{min(state_dict)}: convert it first if it is a published file, or correct load_from'
            )
        runner.logger.info(f'{runner._load_from}: {comparison}')
