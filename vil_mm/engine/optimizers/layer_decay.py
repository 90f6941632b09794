"""Constructors of optimizers that mmengine lacks."""

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn

from ...registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Learning rates that decay from the heads down to the backbone's first layer, in any task.

    Depths are those of the backbone's ``get_layer_depth``; what is not of the
    backbone has the full rate. ``paramwise_cfg`` takes what mmengine's default
    constructor does, and ``layer_decay_rate``, in (0, 1]: the factor from a
    layer to the one below.

    Raises:
        ValueError: If ``layer_decay_rate`` is missing or out of its range, or
            the model has no backbone that knows the depths of its layers.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the wrapped optimizer of a model."""
        rate = self.paramwise_cfg.get('layer_decay_rate')
        if not isinstance(rate, (int, float)) or not 0 < rate <= 1:
            raise ValueError(f'paramwise_cfg has layer_decay_rate={rate!r}, must be a number in (0, 1]')
        return super().__call__(model)

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', is_dcn_module=None) -> None:
        """Add the parameters of a module, and once all are there, scale their learning rates."""
        super().add_params(params, module, prefix, is_dcn_module)
        if prefix:
            return
        rate = self.paramwise_cfg['layer_decay_rate']
        backbone = getattr(module, 'backbone', None)
        if not hasattr(backbone, 'get_layer_depth'):
            raise ValueError(
                f'{type(module).__name__} has the backbone {type(backbone).__name__}, which has no get_layer_depth'
            )
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        for group in params:
            depth, count = backbone.get_layer_depth(names[id(group['params'][0])], 'backbone.')
            group['lr'] = group.get('lr', self.base_lr) * rate ** (count - 1 - depth)
