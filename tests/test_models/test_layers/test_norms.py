"""Norms of tokens."""

import pytest
from torch import nn

from vil_mm.models import L2ViT, ViL, ViTAEv2
from vil_mm.models.layers import build_token_norm


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
