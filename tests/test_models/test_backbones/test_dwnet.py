"""What is DWNet's own: its kinds, the padding of the detectors, its errors."""

import pytest
import torch

from tools.benchmarks.sibling_formulations.dwnet import publication
from vil_mm.models import DWNet

SMALL = dict(embed_dims=[8, 16, 16, 32], depths=[1, 1, 1, 1])
KINDS = 'static', 'dynamic', 'inhomogeneous'
kinds = pytest.mark.parametrize('conv_type', KINDS)


def build(conv_type='static', **kwargs):
    torch.manual_seed(0)
    model = DWNet(SMALL, conv_type=conv_type, num_groups=4, **kwargs)
    model.init_weights()
    return model


@kinds
@pytest.mark.parametrize('pad_size_divisor', [None, 7])
def test_equals_the_publication(conv_type, pad_size_divisor):
    """Outputs and gradients are those of the formulation that the benchmark compares with."""
    # float64: a batch norm over two images, as that of dynamic kernels, blows up the rounding of float32
    model = build(conv_type, pad_size_divisor=pad_size_divisor, output_norm='each', drop_path_rate=0.3).double()
    other = publication(model)
    images = torch.randn(2, 3, 53, 66, dtype=torch.float64)
    results = []
    for net in (model, other):
        torch.manual_seed(1)
        outputs = net(images)
        sum(x.square().mean() for x in outputs).backward()
        results.append([*outputs, *(p.grad for p in net.parameters())])
    for ours, theirs in zip(*results):
        assert (ours - theirs).abs().max() <= 1e-9 * max(theirs.abs().max(), 1)


@kinds
def test_padding_changes_what_is_no_multiple(conv_type):
    model = build(conv_type).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.bias)  # else the norms turn zeros into zeros
    padding = build(conv_type, pad_size_divisor=7).eval()
    padding.load_state_dict(model.state_dict())
    with torch.no_grad():
        for images in (torch.randn(1, 3, 224, 448), torch.randn(1, 3, 64, 64)):
            same = all(torch.allclose(x, y, atol=1e-6) for x, y in zip(model(images), padding(images)))
            assert same == (images.shape[2] == 224)


def test_loading_tells_the_kinds_apart():
    for conv_type in KINDS:
        for other in KINDS:
            if other == conv_type:
                continue
            with pytest.raises(ValueError, match=f'Build the model with conv_type={other!r}'):
                build(conv_type).load_state_dict(build(other).state_dict(), strict=False)


def test_published_files_are_to_be_converted():
    with pytest.raises(ValueError, match=r'convert it with tools/model_converters/dwnet2mm\.py'):
        build().load_state_dict({'layers.0.blocks.0.attn2conv.conv0.weight': torch.zeros(1)}, strict=False)


def test_norms():
    for output_norm, kind in (('last', torch.nn.LayerNorm), ('each', torch.nn.BatchNorm2d)):
        norms = [m for name, m in build(output_norm=output_norm).named_children() if name.startswith('norm')]
        assert [type(norm) for norm in norms] == [kind] * (1 if output_norm == 'last' else 4)
    synchronised = build('dynamic', norm_cfg=dict(type='SyncBN'), output_norm='each')
    norms = [m for m in synchronised.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert len(norms) == 4 * 5 + 4 and all(isinstance(norm, torch.nn.SyncBatchNorm) for norm in norms)


def test_gradient_through_a_batch_norm_of_the_outputs():
    model = build(output_norm='each', drop_path_rate=0.0).double()
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    cotangent = torch.randn(2, 32, 2, 3, dtype=torch.float64)
    stages = [*model.stages[3].parameters(), *model.norm3.parameters()]
    ours = torch.autograd.grad((model(images)[3] * cotangent).sum(), stages)
    norm, model.output_norm = model.norm3, None
    featmap = model(images)[3]
    normed = (featmap - featmap.mean((0, 2, 3), keepdim=True)) / (
        featmap.var((0, 2, 3), keepdim=True, unbiased=False) + norm.eps
    ).sqrt()
    output = normed * norm.weight.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1)
    expected = torch.autograd.grad((output * cotangent).sum(), stages)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


def test_dynamic_kernels_need_several_images_or_norm_eval():
    images = torch.randn(1, 3, 32, 32)
    with pytest.raises(ValueError, match='cannot be trained on a batch of one image'):
        build('dynamic')(images)
    build('dynamic', norm_eval=True).train()(images)[-1].sum().backward()
    build('inhomogeneous')(torch.randn(1, 3, 64, 64))


@kinds
def test_mixed_precision(conv_type):
    model = build(conv_type).eval()
    images = torch.randn(2, 3, 64, 64)
    exact = model(images)[-1]
    with torch.autocast('cpu', torch.bfloat16):
        mixed = model(images)[-1]
    mixed.float().square().mean().backward()
    assert (mixed.float() - exact).abs().max() <= 0.1 * exact.abs().max()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(conv_type='depthwise'), "conv_type='depthwise' must be 'static' or 'dynamic' or 'inhomogeneous'"),
        (dict(pad_size_divisor=0), 'pad_size_divisor=0 must be an integer of at least 1'),
        (dict(conv_type='inhomogeneous'), 'num_groups=32 must divide channels=8'),
        (dict(arch=dict(embed_dims=[8], depths=[0])), r"arch\['depths'\]=\[0\] must be .* at least 1"),
        (dict(out_type='cls_token'), 'needs global tokens'),
    ],
)
def test_errors(kwargs, message):
    with pytest.raises(ValueError, match=message):
        DWNet(**{'arch': SMALL, **kwargs})
