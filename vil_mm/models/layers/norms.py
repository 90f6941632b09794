"""Norms of tokens, and of feature maps."""

from mmcv.cnn import build_norm_layer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ...arguments import Size, check_arguments
from ...ops.maps import Tokens
from ...registry import NormCfg

#: Norms of feature maps ``(N, C, H, W)``.
MAP_NORMS = _NormBase, nn.GroupNorm


@check_arguments
def build_token_norm(norm_cfg: NormCfg, channels: Size) -> nn.Module:
    """Build a norm of tokens ``(N, L, C)``.

    Args:
        norm_cfg (dict): Its config, as ``mmcv.cnn.build_norm_layer`` takes it.
        channels (int): ``C``.

    Raises:
        ValueError: If ``norm_cfg`` is a norm of feature maps.
    """
    norm = build_norm_layer(norm_cfg, channels)[1]
    if isinstance(norm, MAP_NORMS):
        raise ValueError(f"norm_cfg={norm_cfg} must be a norm of tokens, such as dict(type='LN'), not one of maps")
    return norm


@check_arguments
def build_map_norm(norm_cfg: NormCfg, channels: Size) -> nn.Module:
    """Build a norm of feature maps ``(N, C, H, W)``.

    Args:
        norm_cfg (dict): Its config, as ``mmcv.cnn.build_norm_layer`` takes it.
        channels (int): ``C``.

    Raises:
        ValueError: If ``norm_cfg`` is a norm of tokens.
    """
    norm = build_norm_layer(norm_cfg, channels)[1]
    if type(norm) is nn.LayerNorm:  # its subclasses in other libraries may be norms of maps
        raise ValueError(f"norm_cfg={norm_cfg} must be a norm of maps, such as dict(type='BN'), not one of tokens")
    return norm


@check_arguments
def norm_tokens(norm: nn.Module, tokens: Tokens) -> Tensor:
    """Apply a norm of tokens, or one of feature maps ``(N, C, H, W)``, to tokens ``(N, L, C)``."""
    if not isinstance(norm, MAP_NORMS):
        return norm(tokens)
    # As a map one pixel wide. With the strides of tokens.mT[..., None], PyTorch's batch norm on the CPU returns wrong
    # gradients (seen in 2.13).
    return norm(tokens[:, :, None].permute(0, 3, 1, 2))[..., 0].mT
