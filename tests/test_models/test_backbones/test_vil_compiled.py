"""A compiled ViL."""

import pytest
import torch

from vil_mm.models import ViL

SLIDING_WINDOW = dict(type='vil_mm.SlidingWindowAttention', window_size=4)
ARCH = dict(
    embed_dims=[32, 64],
    depths=[1, 1],
    num_heads=[2, 2],
    num_global_tokens=[1, 1],
    patch_sizes=[4, 2],
    attn_cfgs=[SLIDING_WINDOW] * 2,
    absolute_position=[False] * 2,
)


@pytest.mark.slow  # Inductor compiles each of them for a minute
@pytest.mark.parametrize('partial_patches', ['pad', 'drop'])
def test_trains_on_single_images_of_any_size(partial_patches):
    model = ViL(ARCH, output_norm=None, drop_path_rate=0.0, partial_patches=partial_patches)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, dynamic=True)
    for size in ((96, 80), (64, 112), (70, 91)):
        x = torch.randn(1, 3, *size)
        results = []
        for run in (model, compiled):
            outputs = run(x)
            loss = sum(output.square().mean() for output in outputs)
            results.append((outputs, torch.autograd.grad(loss, list(model.parameters()))))
        torch.testing.assert_close(*results, rtol=1e-3, atol=1e-5)
