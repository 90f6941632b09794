"""Norms of tokens."""

from mmcv.cnn import build_norm_layer
from torch import nn
from torch.nn.modules.batchnorm import _NormBase


def build_token_norm(norm_cfg: dict, channels: int) -> nn.Module:
    """Build a norm of tokens ``(N, L, C)``.

    Args:
        norm_cfg (dict): Its config, as ``mmcv.cnn.build_norm_layer`` takes it.
        channels (int): ``C``.

    Raises:
        ValueError: If it is a norm of maps.
    """
    norm = build_norm_layer(norm_cfg, channels)[1]
    if isinstance(norm, (_NormBase, nn.GroupNorm)):
        raise ValueError(f"norm_cfg={norm_cfg} must be a norm of tokens, such as dict(type='LN'), not one of maps")
    return norm
