"""Stop a run when its loss, gradients or weights are NaN or infinite."""

from collections.abc import Iterator
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor

from ...registry import HOOKS


@HOOKS.register_module()
class CheckFiniteLossHook(Hook):
    """Stop the run at the first NaN or infinite loss, gradient or weight, before a checkpoint is written.

    Loss and gradients are checked in every iteration, because the first such
    value spoils the weights. The weights are checked before the first iteration
    and before each checkpoint. A step that a loss scaler leaves out, because
    gradients overflow, does not count.
    """

    def before_train(self, runner: Runner) -> None:
        """Check the weights, and measure the gradients before each step of the optimizer.

        Raises:
            FloatingPointError: If a weight is not finite. The message names it.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self.parameters = dict(model.named_parameters())
        self._check_weights(runner, f'of {runner._load_from}' if runner._load_from else 'at the beginning')
        self.norms: dict[str, Tensor] = {}
        wrapper = runner.optim_wrapper
        if not isinstance(wrapper, OptimWrapper):
            return
        wrapper.optimizer.register_step_pre_hook(self._measure)
        if wrapper.clip_grad_kwargs:
            clip = wrapper.clip_func

            def measure_and_clip(*args: Any, **kwargs: Any) -> Tensor | None:
                self._measure()  # before clipping spreads a NaN to all gradients
                return clip(*args, **kwargs)

            wrapper.clip_func = measure_and_clip

    def _measure(self, *args: Any) -> None:
        """Compute the norms of the gradients, without waiting for a GPU, unless they have been computed already."""
        if not self.norms:
            grads = {name: local(value.grad) for name, value in self.parameters.items() if value.grad is not None}
            self.norms = dict(zip(grads, torch._foreach_norm(list(grads.values()))))

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Check the losses and gradients of the iteration.

        Raises:
            FloatingPointError: If one is not finite. The message names the
                iteration, the losses, the first image with pixels that are not
                finite, and the first parameter with such a gradient.
        """
        losses = {name: torch.as_tensor(value) for name, value in (outputs or {}).items() if 'loss' in name}
        norms, self.norms = self.norms, {}
        # all at once, so that a GPU is waited for only once
        values = [value.float() for value in (*losses.values(), *norms.values())]
        if not values or torch.stack(values).isfinite().all():
            return
        spoiled = [name for name, norm in norms.items() if not norm.isfinite()]
        images = list(spoiled_images(data_batch))
        kind = 'loss' if any(not value.isfinite() for value in losses.values()) else 'gradient'
        raise FloatingPointError(
            f'iteration {runner.iter + 1} (epoch {runner.epoch + 1}): the {kind} is not finite: '
            + ', '.join(f'{name}={float(value)}' for name, value in losses.items())
            + (f'. There are pixels that are not finite in {images[0]}' if images else '')
            + (f'. Of {len(norms)} gradients, {len(spoiled)} are not finite: first {spoiled[0]}' if spoiled else '')
            + '. The run stops here. A lower learning rate, gradient clipping or float32 training may help.'
        )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check the weights.

        Raises:
            FloatingPointError: If one is not finite. The message names it.
        """
        self._check_weights(runner, f'after iteration {runner.iter}, so that no checkpoint is written')

    def _check_weights(self, runner: Runner, when: str) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        for name, value in model.named_parameters():
            if not local(value.detach()).isfinite().all():
                raise FloatingPointError(f'the weight {name} is not finite {when}')


def local(value: Tensor) -> Tensor:
    """Return this process's shard of a parameter or gradient, or the whole if it is not sharded."""
    return value.to_local() if hasattr(value, 'to_local') else value


def spoiled_images(batch: dict | None) -> Iterator[str]:
    """Name the images of a batch that have NaN or infinite pixels."""
    inputs = (batch or {}).get('inputs', ())
    samples = (batch or {}).get('data_samples') or [None] * len(inputs)
    for image, sample in zip(inputs, samples):
        if isinstance(image, Tensor) and not image.isfinite().all():
            yield getattr(sample, 'img_path', 'an image')
