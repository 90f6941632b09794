"""What every backbone promises. Families are found in the registry: a new one is tested by being registered."""

import inspect
import pickle
from copy import deepcopy

import pytest
import torch
from mmcv.cnn import fuse_conv_bn
from mmengine.logging import MMLogger

import vil_mm.models  # noqa: F401
from tests.conftest import ROOT
from vil_mm.models.base import BaseBackbone
from vil_mm.registry import MODELS


def vitae_v2(attn_cfg, **changes):
    arch = dict(
        embed_dims=[8, 16, 24, 32],
        depths=[1, 1, 2, 1],
        num_heads=[1, 2, 3, 4],
        groups=[1, 2, 2, 4],
        attn_cfgs=[attn_cfg] * 4,
        branch_dims=[8, 8, 12, 16],
        hidden_dims=[8, 8, 12, 16],
        reduction_heads=[1, 1, 2, 4],
        reduction_groups=[1, 2, 4, 4],
        reduction_attn_cfgs=[attn_cfg] * 4,
        dilations=[[1, 2], [1, 2], [1], [1]],
        position_encoding=[False] * 4,
    )
    return dict(type='vil_mm.ViTAEv2', arch=dict(arch, **changes), drop_path_rate=0.0)


WINDOW = dict(type='vil_mm.WindowAttention', window_size=3, padding='both')
FULL = dict(type='vil_mm.FullAttention')
SKIP_FULL = dict(FULL, skip_values=True, qkv_bias=False)

# Small models of the families' kinds.
KINDS = {
    'vil': dict(
        type='vil_mm.ViL',
        arch='l1,h1,d8,n1,s1,g1,p4,f3,a0_l2,h2,d16,n2,s1,g2,p2,f2,a0_l3,h2,d16,n2,s1,g1,p2,f7,a0_l4,h4,d32,n1,s1,g0,p2,f7,a0',
        drop_path_rate=0.0,
    ),
    'l2vit': dict(
        type='vil_mm.L2ViT',
        arch=dict(embed_dims=[8, 16, 16, 32], depths=[2, 2, 3, 2], num_heads=[1, 2, 2, 4]),
        drop_path_rate=0.0,
    ),
    'vitae_v2': vitae_v2(
        None,
        attn_cfgs=[WINDOW, WINDOW, FULL, FULL],
        reduction_attn_cfgs=[WINDOW, WINDOW, SKIP_FULL, SKIP_FULL],
    ),
    'vitae_v2-window': vitae_v2(WINDOW),
    'vitae_v2-vsa': vitae_v2(
        dict(type='vil_mm.VariedSizeWindowAttention', window_size=3), position_encoding=[True] * 4
    ),
    **{
        f'dwnet-{conv_type}': dict(
            type='vil_mm.DWNet',
            arch=dict(embed_dims=[8, 16, 16, 32], depths=[1, 2, 1, 1]),
            conv_type=conv_type,
            num_groups=4,
            pad_size_divisor=pad_size_divisor,
            drop_path_rate=0.0,
        )
        for conv_type, pad_size_divisor in (('static', None), ('dynamic', 7), ('inhomogeneous', None))
    },
    'swin_vsa': dict(
        type='vil_mm.SwinVSA',
        arch=dict(embed_dims=[8, 16, 24, 32], depths=[1, 2, 1, 1], num_heads=[1, 2, 2, 4]),
        window_size=3,
        drop_path_rate=0.0,
    ),
}
#: A family that has no entry above is tested with the architecture ``'nano'`` of its zoo.
FAMILIES = {
    name: cls
    for name, cls in MODELS.module_dict.items()
    if inspect.isclass(cls) and issubclass(cls, BaseBackbone) and cls.__module__.startswith('vil_mm.')
}
KNOWN = {cfg['type'].removeprefix('vil_mm.') for cfg in KINDS.values()}
BACKBONES = KINDS | {
    name: dict(type=f'vil_mm.{name}', arch='nano', drop_path_rate=0.0)
    for name, cls in FAMILIES.items()
    if name not in KNOWN
}

pytestmark = pytest.mark.parametrize('family', BACKBONES)


def build(family, **kwargs):
    torch.manual_seed(0)
    model = MODELS.build(dict(BACKBONES[family], **kwargs))
    model.init_weights()
    return model


def loss_of(outputs):
    return sum(x.square().mean() for x in outputs)


@pytest.mark.parametrize(
    'shape', [(1, 3, 33, 47), (3, 3, 64, 64), (1, 3, 224, 224), (3, 3, 157, 101), (1, 3, 256, 320)], ids=str
)
def test_any_size(family, shape):
    # batch norms that take their statistics over the images, as those of dynamic kernels, cannot be trained on one
    model = build(family).train(shape[0] > 1)
    outputs = model(torch.randn(shape))
    assert len(outputs) == len(model.stages)
    for i, x in enumerate(outputs):
        assert x.ndim == 4 and x.shape[0] == shape[0] and x.isfinite().all() and x.is_contiguous()
        # padded to whole patches: the outputs of all stages show the whole image
        assert x.shape[2:] == tuple(-(-size // 2 ** (i + 2)) for size in shape[2:]), i


def test_no_images(family):
    model = build(family).eval()
    outputs = model(torch.randn(0, 3, 64, 96))
    assert [tuple(x.shape[2:]) for x in outputs] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    sum(x.sum() for x in outputs).backward()
    assert not any(parameter.grad.any() for parameter in model.parameters() if parameter.grad is not None)


def test_partial_patches_are_reported_once(family, monkeypatch):
    messages = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'warning', messages.append)
    model, one = build(family).eval(), build(family, out_indices=(3,)).eval()
    model(torch.randn(1, 3, 64, 96))
    one(torch.randn(1, 3, 64, 95))
    assert not messages
    for _ in range(2):
        model(torch.randn(1, 3, 64, 95))
    (message,) = messages
    assert 'different parts of a 64x95 image' in message and 'size_divisor=32' in message


def test_every_parameter_has_a_gradient(family):
    model = build(family, output_norm='each')
    loss_of(model(torch.randn(2, 3, 96, 128))).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@pytest.mark.parametrize('channels', [1, 4])
def test_weights_for_images_of_other_channels(family, channels, monkeypatch):
    lines = []
    monkeypatch.setattr('vil_mm.models.base.base_backbone.print_log', lambda line, **kwargs: lines.append(line))
    published = build(family).double().eval()
    for parameter in published.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    model = build(family, in_channels=channels).double().eval()
    state_dict = {f'backbone.{name}': tensor for name, tensor in published.state_dict().items()}
    assert model.check_checkpoint(state_dict, 'backbone.').resized
    torch.nn.ModuleDict(dict(backbone=model)).load_state_dict(state_dict)
    assert len(lines) == 1 and f'images of 3 channels, the model for {channels}: ' in lines[0]
    # repeated weights add up what the channels hold; one channel holds the same as three equal ones
    channel = torch.arange(channels)
    mix = (channel % 3 == torch.arange(3)[:, None]).double() * 3 / channels if channels > 1 else torch.ones(3, 1)
    x = torch.randn(2, channels, 32, 32, dtype=torch.double)
    mixed = torch.einsum('kc,nchw->nkhw', mix.double(), x)
    for found, expected in zip(model(x), published(mixed)):
        torch.testing.assert_close(found, expected)


def test_weights_of_other_widths_are_not_adapted(family):
    model = build(family, in_channels=4)
    state_dict = dict(build(family).state_dict())
    (first, *_), tensors = model.adapt_channels(state_dict), dict(state_dict)
    tensors[first] = tensors[first][1:]
    assert first not in model.adapt_channels(tensors)
    assert first in model.check_checkpoint(tensors).unfit


def test_copies_compute_the_same(family):
    model = build(family).eval()
    images = torch.randn(1, 3, 40, 64)
    expected = model(images)
    for copy in (deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert all(torch.equal(x, y) for x, y in zip(copy(images), expected))
        # with the hooks and references of a module of its own
        copy.load_state_dict({name: torch.zeros_like(t) for name, t in copy.state_dict().items()})
        assert all(torch.equal(x, y) for x, y in zip(model(images), expected))


def test_train_returns_self_and_stays_frozen(family):
    model = build(family, frozen_stages=1, output_norm='each')
    assert model.train() is model and model.eval() is model
    model.train()
    assert [stage.training for stage in model.stages] == [False, False, True, True]
    frozen = {
        name: value.clone() for name, value in model.state_dict().items() if name.startswith(('stages.0', 'stages.1'))
    }
    loss_of(model(torch.randn(2, 3, 64, 64))).backward()
    without = {'.'.join(name.split('.')[:2]) for name, p in model.named_parameters() if p.grad is None}
    assert {name.replace('.weight', '').replace('.bias', '') for name in without} == {
        'stages.0',
        'stages.1',
        'norm0',
        'norm1',
    }
    # running statistics of batch norms too
    torch.testing.assert_close(frozen, {name: model.state_dict()[name] for name in frozen}, rtol=0, atol=0)
    everything = build(family, frozen_stages=len(model.stages) - 1)
    assert not any(p.requires_grad for p in everything.parameters())


def test_checkpointing_changes_nothing(family):
    gradients, statistics = [], []
    for with_cp in (False, True, 'ffn'):
        model = build(family, with_cp=with_cp, drop_path_rate=0.3).double()
        torch.manual_seed(1)
        loss = loss_of(model(torch.randn(2, 3, 64, 96, dtype=torch.float64)))
        torch.autograd.grad(loss, list(model.parameters()), retain_graph=True, allow_unused=True)  # recomputes too
        loss.backward()
        gradients.append([p.grad for p in model.parameters()])
        statistics.append(dict(model.named_buffers()))  # of batch norms
    for i in (1, 2):
        torch.testing.assert_close(gradients[i], gradients[0])
        torch.testing.assert_close(statistics[i], statistics[0])


def test_batch_norms_can_be_fused(family):
    """OpenMMLab's tools merge them into the convolutions before them, as the order of a module's children has them."""
    model = build(family).double()
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        model.train()(images)  # makes running statistics
        before = model.eval()(images)
        after = fuse_conv_bn(model)(images)
    torch.testing.assert_close(after, before)


def test_outputs_for_classification(family):
    images = torch.randn(3, 3, 64, 64)
    featmap, pooled = (
        build(family, out_indices=(3,)).eval(),
        build(family, out_indices=(3,), out_type='avg_featmap').eval(),
    )
    (x,), (mean,) = featmap(images), pooled(images)
    torch.testing.assert_close(mean, x.mean((2, 3)))


def test_layer_depths(family):
    model = build(family, output_norm='last')
    depths = {name: model.get_layer_depth(f'backbone.{name}', 'backbone.') for name, _ in model.named_parameters()}
    assert {count for _, count in depths.values()} == {sum(model.depths) + 2}
    assert {depth for depth, _ in depths.values()} == set(range(sum(model.depths) + 2))
    assert model.get_layer_depth('head.fc.weight', 'backbone.')[0] == sum(model.depths) + 1


@pytest.fixture(scope='module')
def state_dicts():
    """Of each family and kind, its type and tensors."""
    models = {family: build(family) for family in BACKBONES}
    return {family: (type(model), model.state_dict()) for family, model in models.items()}


def test_loading_refuses_another_family(family, state_dicts):
    model = build(family)
    others = {name: state for name, (cls, state) in state_dicts.items() if cls is not type(model)}
    for name, state in {'none': {'layers.0.weight': torch.zeros(1)}, **others}.items():
        confused = set(model.entries) <= state.keys()
        assert not confused, f'{name} holds all entries={model.entries} of {type(model).__name__}: add one to them'
        with pytest.raises(ValueError, match=r'does not hold .*It is of another model family'):
            model.load_state_dict(state, strict=False)


def test_loading_tells_what_is_wrong(family):
    model = build(family)
    with pytest.raises(ValueError, match='It is incomplete'):
        model.load_state_dict({list(model.state_dict())[-1]: torch.zeros(1)}, strict=False)
    if model.published_entry is None:
        return
    assert (ROOT / model.converter).is_file()
    names = {
        f'backbone.{model.published_entry}0.weight': r'It is a published file: convert it with tools/model_converters/',
        f'module.{model.published_entry}0.weight': r'It is a published file: convert it with tools/model_converters/',
    }
    for name, message in names.items():
        with pytest.raises(ValueError, match=message):
            model.load_state_dict({name: torch.zeros(1)}, strict=False)


def test_later_stages_than_those_of_the_outputs_are_not_trained(family):
    model = build(family, out_indices=(0, 2))
    outputs = model(torch.randn(2, 3, 64, 64))
    expected = build(family)(torch.randn(2, 3, 64, 64))
    assert [x.shape for x in outputs] == [expected[0].shape, expected[2].shape]
    loss_of(outputs).backward()
    for name, parameter in model.named_parameters():
        unused = name.startswith(('stages.3.', 'norm.'))
        assert parameter.requires_grad is not unused and (parameter.grad is None) is unused, name


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (
            dict(arch=dict(embed_dims=8)),
            r"arch has the keys \['embed_dims'\]|arch\['embed_dims'\]=8 must be a sequence",
        ),
        (dict(out_indices=(4,)), r'out_indices=\(4,\) must name stages, 0 to 3'),
        (dict(out_type='map'), "out_type='map' must be 'featmap' or"),
        (dict(output_norm='first'), "output_norm='first' must be 'last' or 'each' or None"),
        (dict(frozen_stages=4), r'frozen_stages=4 must be -1 to 3'),
        (dict(arch='huge'), r"arch='huge'"),
        (dict(with_cp='attn'), "with_cp='attn' must be True or False or 'ffn'"),
    ],
)
def test_errors(family, kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(family, **kwargs)


def test_image_errors(family):
    with pytest.raises(ValueError, match=r'the images have shape \(3, 64, 64\), must be'):
        build(family)(torch.rand(3, 64, 64))
    with pytest.raises(ValueError, match=r'the image has size \(3, 64\), must be at least one patch'):
        build(family)(torch.rand(1, 3, 3, 64))
