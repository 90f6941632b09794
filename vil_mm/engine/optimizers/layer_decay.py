"""Layer-wise decay of learning rates."""

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn

from ...registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Build an optimizer whose learning rates decay from the heads to the backbone's first layer, in any task.

    The backbone's ``get_layer_depth`` gives the depths of its layers. Other
    parts of the model have the full rate.

    Args:
        optim_wrapper_cfg (dict): As of mmengine's default constructor.
        paramwise_cfg (dict): As of mmengine's default constructor, with
            ``layer_decay_rate`` in (0, 1]: the factor from each layer to the
            one before it.

    Raises:
        ValueError: If ``layer_decay_rate`` is missing or out of its range, or
            the model has no backbone with ``get_layer_depth``.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the wrapped optimizer of a model."""
        rate = self.paramwise_cfg.get('layer_decay_rate')
        if not isinstance(rate, (int, float)) or not 0 < rate <= 1:
            raise ValueError(f'paramwise_cfg has layer_decay_rate={rate!r}, which must be a number in (0, 1]')
        return super().__call__(model)

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', is_dcn_module=None) -> None:
        """Add the parameters of a module; once those of the whole model are there, scale their learning rates."""
        super().add_params(params, module, prefix, is_dcn_module)
        if prefix:
            return
        rate = self.paramwise_cfg['layer_decay_rate']
        backbone = getattr(module, 'backbone', None)
        if not hasattr(backbone, 'get_layer_depth'):
            raise ValueError(
                f'{type(module).__name__} must have a backbone with get_layer_depth, but has {type(backbone).__name__}'
            )
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        for group in params:
            depth, count = backbone.get_layer_depth(names[id(group['params'][0])], 'backbone.')
            group['lr'] = group.get('lr', self.base_lr) * rate ** (count - 1 - depth)
