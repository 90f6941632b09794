"""tools/benchmarks/sibling_formulations/l2vit.py computes what the model computes."""

import torch

from tools.benchmarks.sibling_formulations import l2vit
from vil_mm.models import L2ViT


def test_publication_formulation_computes_the_same():
    model = L2ViT(dict(embed_dims=[32, 32, 64, 64], depths=[2, 2, 2, 2], num_heads=[1, 2, 2, 4]), drop_path_rate=0.0)
    model.double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.02, 0.2)
    other = l2vit.publication(model)
    assert other.stages[0].blocks[1].attn.forward.__func__ is l2vit.linear_attention
    gradients = []
    for each in (model, other):
        images = torch.randn(2, 3, 75, 102, dtype=torch.float64, generator=torch.manual_seed(0)).requires_grad_()
        outputs = each(images)
        sum(x.square().mean() for x in outputs).backward()
        gradients.append([*outputs, images.grad, *(p.grad for p in each.parameters())])
    for ours, theirs in zip(*gradients):
        torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-9)
