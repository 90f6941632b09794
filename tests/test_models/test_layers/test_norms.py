"""Norms of tokens, and of feature maps."""

import pytest
from torch import nn

from vil_mm.models import DWNet, L2ViT, ViL, ViTAEv2
from vil_mm.models.layers import build_map_norm, build_token_norm


def test_builds_norms_of_tokens_alone():
    norm = build_token_norm(dict(type='LN', eps=1e-6), 8)
    assert isinstance(norm, nn.LayerNorm) and norm.normalized_shape == (8,) and norm.eps == 1e-6
    for norm_cfg in (dict(type='BN'), dict(type='SyncBN'), dict(type='GN', num_groups=2)):
        with pytest.raises(ValueError, match=r"must be a norm of tokens, such as dict\(type='LN'\)"):
            build_token_norm(norm_cfg, 8)


@pytest.mark.parametrize('backbone', [ViL, L2ViT, ViTAEv2])
def test_backbones_refuse_norms_of_maps(backbone):
    with pytest.raises(ValueError, match=r"norm_cfg=\{'type': 'SyncBN'"):
        backbone(norm_cfg=dict(type='SyncBN'))


def test_builds_norms_of_maps_alone():
    for norm_cfg in (dict(type='BN'), dict(type='SyncBN'), dict(type='GN', num_groups=2), dict(type='IN')):
        assert build_map_norm(norm_cfg, 8)
    with pytest.raises(ValueError, match=r"norm_cfg=.* must be a norm of maps, such as dict\(type='BN'\)"):
        build_map_norm(dict(type='LN'), 8)


@pytest.mark.parametrize('conv_type', ['static', 'dynamic', 'inhomogeneous'])
def test_backbones_refuse_norms_of_tokens(conv_type):
    with pytest.raises(ValueError, match=r"norm_cfg=\{'type': 'LN'\} must be a norm of maps"):
        DWNet('nano', conv_type=conv_type, norm_cfg=dict(type='LN'))
