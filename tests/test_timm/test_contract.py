"""What timm asks of a model, for every model that we register; only the families' smallest run by default."""

from copy import deepcopy

import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from timm.data import resolve_model_data_config
from timm.models import adapt_input_conv, group_parameters
from timm.optim import create_optimizer_v2
from torch import nn

from tests.conftest import ROOT
from vil_mm.models import ViL
from vil_mm.models.base import BaseBackbone
from vil_mm.registry import MODELS as MODELS_OF_OURS
from vil_mm.timm import ARCHITECTURES

SHORT = ['vil_nano', 'dwnet_nano']
NANO = [name for name in ARCHITECTURES if name.endswith('nano')]


def slowly(names, short):
    """Some names, those that are not in a short list as slow tests."""
    return [name if name in short else pytest.param(name, marks=pytest.mark.slow) for name in names]


#: The configs of classifiers of the same architecture.
CONFIGS = {
    'vil_nano': 'vil/vil-nano',
    'l2vit_nano': 'l2vit/l2vit-nano',
    'vitaev2_vsa_nano': 'vitae_v2/vitae-v2-vsa-nano',
    'swin_vsa_nano': 'swin_vsa/swin-vsa-nano',
    'dwnet_nano': 'dwnet/dwnet-nano',
    'dynamic_dwnet_nano': 'dwnet/dynamic-dwnet-nano',
}
SIZE = 64


def create(name, size=SIZE, **kwargs):
    """Create a model for images of a size."""
    if timm.get_pretrained_cfg(name).fixed_input_size:
        kwargs['img_size'] = size
    torch.manual_seed(0)
    return timm.create_model(name, **kwargs)


def randomize(model):
    """Change all parameters, but little: dynamic convolutions square their input, so that deep models overflow."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.01)
    return model


def images(channels=3, size=SIZE):
    return torch.randn(2, channels, size, size)


def gradients(model, x):
    model.zero_grad()
    outputs = model(x)
    sum(out.square().mean() for out in (outputs if isinstance(outputs, list) else [outputs])).backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def test_all_architectures_are_registered():
    families = {
        one for one in MODELS_OF_OURS.module_dict.values() if isinstance(one, type) and issubclass(one, BaseBackbone)
    }
    registered = {(backbone, settings['arch']) for backbone, settings in ARCHITECTURES.values()}
    assert registered == {(family, arch) for family in families for arch in family.arch_zoo}
    assert set(timm.list_models('vil_*')) == {f'vil_{arch}'.replace('-', '_') for arch in ViL.arch_zoo}
    assert all(map(timm.is_model, ARCHITECTURES))


@pytest.mark.parametrize('name', slowly(ARCHITECTURES, NANO))
def test_classifier(name):
    model, x = create(name, num_classes=42), images()
    grads = gradients(model, x)
    assert [name for name, p in model.named_parameters() if name not in grads or not grads[name].isfinite().all()] == []

    model.eval()
    with torch.no_grad():
        features = model.forward_features(x)
        pooled = model.forward_head(features, pre_logits=True)
        scores = model(x)
        assert features.shape == (2, model.num_features, SIZE // 32, SIZE // 32) and scores.shape == (2, 42)
        assert torch.equal(model.forward_head(features), scores)
        assert torch.equal(model.get_classifier()(pooled), scores) and model.get_classifier().out_features == 42
        torch.testing.assert_close(pooled, features.mean((2, 3)))
        model.reset_classifier(0)
        assert model.num_classes == 0 and torch.equal(model(x), pooled)
        assert isinstance(model.get_classifier(), nn.Identity)
        model.reset_classifier(0, '')
        assert torch.equal(model(x), features)
        model.reset_classifier(5, 'max')
        assert torch.equal(model(x), model.get_classifier()(features.amax((2, 3))))


@pytest.mark.parametrize('name', slowly(ARCHITECTURES, [*SHORT, 'vitaev2_vsa_nano']))
def test_default_config(name):
    model = timm.create_model(name, in_chans=5).eval()  # no convolution within a backbone has five channels
    cfg, tensors = model.pretrained_cfg, model.state_dict()
    assert cfg['architecture'] == name and cfg['input_size'] == (3, 224, 224)
    assert tensors[cfg['classifier'] + '.weight'].shape == (cfg['num_classes'], model.num_features)
    assert model.get_submodule(cfg['classifier']) is model.get_classifier()
    first = cfg['first_conv'] if isinstance(cfg['first_conv'], tuple) else (cfg['first_conv'],)
    convs = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and m.in_channels == 5]
    assert sorted(first) == sorted(convs)
    assert resolve_model_data_config(model)['crop_pct'] == 0.875
    with torch.no_grad():
        assert model.forward_features(torch.randn(1, 5, 224, 224)).shape[2:] == cfg['pool_size']


@pytest.mark.parametrize('name', slowly(ARCHITECTURES, SHORT))
def test_features(name):
    x, whole = images(4), randomize(create(name, in_chans=4)).eval()
    with torch.no_grad():
        final, expected = whole.forward_intermediates(x)
        torch.testing.assert_close(final, whole.forward_features(x))
        assert len(expected) == 4
        for indices in (None, (0, -2)):
            given = dict(out_indices=indices) if indices else {}
            model = create(name, in_chans=4, num_classes=0, features_only=True, **given)
            model.model.load_state_dict(whole.state_dict(), strict=False)
            maps = model.eval()(x)
            taken = indices or range(4)
            info = model.feature_info
            for i, channels, reduction, featmap in zip(taken, info.channels(), info.reduction(), maps, strict=True):
                assert featmap.shape == (2, channels, SIZE // reduction, SIZE // reduction) and featmap.is_contiguous()
                assert torch.equal(featmap, expected[i]), i
            assert len(model.model.backbone.stages) == max(i % 4 for i in taken) + 1
        *early, last = whole.forward_intermediates(x, indices=2, norm=True, intermediates_only=True)
        assert torch.equal(early[0], expected[2]) and torch.equal(last, final)
        final, maps = whole.forward_intermediates(x, indices=[1], stop_early=True)
        assert torch.equal(final, maps[0]) and torch.equal(final, expected[1])
    assert set(gradients(model.train(), x)) == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize('name', slowly(ARCHITECTURES, SHORT))
def test_recomputation(name):
    model, x = randomize(create(name, size=32, num_classes=3, drop_path_rate=0.0)), images(size=32)
    expected = gradients(deepcopy(model), x)
    model.set_grad_checkpointing()
    calls = []
    model.backbone.stages[2].blocks[0].ffn.register_forward_pre_hook(lambda *args: calls.append(args))
    found = gradients(model, x)
    assert len(calls) == 2
    for name, gradient in found.items():
        assert torch.equal(gradient, expected[name]), name
    model.set_grad_checkpointing(False)
    gradients(model, x)
    assert len(calls) == 3


@pytest.mark.parametrize('name', slowly(ARCHITECTURES, SHORT))
def test_groups_of_parameters(name):
    model = create(name)
    groups = group_parameters(model, model.group_matcher(), reverse=True)
    assert groups == {n: model.backbone.get_layer_depth(n, 'backbone.')[0] for n, _ in model.named_parameters()}
    coarse = group_parameters(model, model.group_matcher(coarse=True), reverse=True)
    assert {n: g for n, g in coarse.items() if '.blocks.' in n} == {
        n: 1 + int(n.split('.')[2]) for n in coarse if '.blocks.' in n
    }
    kept = model.no_weight_decay()
    assert (len(kept) > 0) == any('relative_position_bias' in n or 'global_tokens' in n for n in groups)
    optimizer = create_optimizer_v2(model, 'adamw', lr=1e-3, weight_decay=0.1, layer_decay=0.5)
    settings = {id(p): group for group in optimizer.param_groups for p in group['params']}
    depth = max(groups.values())
    for n, parameter in model.named_parameters():
        group = settings.pop(id(parameter))
        assert group['lr_scale'] == 0.5 ** (depth - groups[n]), n
        assert (group['weight_decay'] == 0) == (n in kept or parameter.ndim == 1), n
    assert not settings


@pytest.mark.parametrize('channels', [1, 4])
@pytest.mark.parametrize('name', slowly(NANO, ['vitaev2_vsa_nano']))
def test_weights_of_another_model(name, channels):
    saved = randomize(create(name)).state_dict()
    before = {n: t.clone() for n, t in saved.items()}
    model = create(
        name, num_classes=7, in_chans=channels, pretrained=True, pretrained_cfg_overlay=dict(state_dict=saved)
    )
    first = model.pretrained_cfg['first_conv']
    for n, tensor in model.state_dict().items():
        if n.removesuffix('.weight') in ((first,) if isinstance(first, str) else first):
            assert torch.equal(tensor, adapt_input_conv(channels, before[n])), n
        elif not n.startswith('head.'):
            assert torch.equal(tensor, before[n]), n
    assert model.get_classifier().out_features == 7


@pytest.mark.parametrize('name', slowly(CONFIGS, SHORT))
def test_checkpoints_of_mmpretrain(name, tmp_path):
    cfg = Config.fromfile(ROOT / f'configs/{CONFIGS[name]}_1xb64_digits.py')
    init_default_scope('mmpretrain')
    classifier = randomize(MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))).eval()
    torch.save(dict(state_dict=classifier.state_dict(), meta=dict(epoch=1)), tmp_path / 'a.pth')
    settings = {key: cfg.model.backbone[key] for key in ('window_size',) if key in cfg.model.backbone}
    model = create(name, size=32, num_classes=10, checkpoint_path=str(tmp_path / 'a.pth'), **settings).eval()
    x = images(size=32)
    with torch.no_grad():
        torch.testing.assert_close(model(x), classifier(x, mode='tensor'), rtol=1e-4, atol=1e-4)
    assert list(model.state_dict()) == list(classifier.state_dict())


def test_arguments():
    model = timm.create_model(
        'vil_nano',
        img_size=(32, 64),
        attn_cfg=dict(type='vil_mm.SlidingWindowAttention', window_size=3),
        drop_path_rate=0.3,
        drop_rate=0.2,
        proj_drop_rate=0.4,
    )
    assert model.backbone.stages[3].blocks[0].drop_path.drop_prob == 0.3
    assert model.head.drop.p == 0.2 and model.backbone.stages[0].embed.drop.p == 0.4
    assert model(torch.randn(1, 3, 49, 81)).shape == (1, 1000)
    assert {t.dtype for t in timm.create_model('dwnet_nano', dtype=torch.bfloat16).parameters()} == {torch.bfloat16}
    with pytest.raises(ValueError, match=r"\['out_type'\] cannot be set: timm has features_only"):
        timm.create_model('vil_nano', out_type='cls_token')
    with pytest.raises(ValueError, match=r"output_fmt='NLC' must be 'NCHW'"):
        model.forward_intermediates(torch.randn(1, 3, 32, 64), output_fmt='NLC')
    for words, message in (((-3,), 'num_classes=-3 must be'), ((3, 'foo'), "global_pool='foo' must be")):
        with pytest.raises(ValueError, match=message):
            model.reset_classifier(*words)
    assert model.num_classes == 1000 and model.head.fc.out_features == 1000
    features = timm.create_model('vil_nano', features_only=True)
    for batch, message in (
        (torch.randn(1, 3, 2, 8), r'size \(2, 8\), must be'),
        (torch.randn(3, 8, 8), 'must be \\(N'),
    ):
        with pytest.raises(ValueError, match=message):
            features(batch)
    with pytest.raises(ValueError, match='in_chans=0 must be'):
        timm.create_model('vil_nano', in_chans=0)


def test_initialization_is_silent_and_follows_the_backbones(capfd):
    model = timm.create_model('l2vit_nano')
    assert capfd.readouterr() == ('', '')
    weights = torch.cat([m.weight.flatten() for m in model.modules() if isinstance(m, nn.Linear)])
    assert abs(weights.std() - 0.02) < 1e-3 and weights.abs().max() < 2
    assert not model.head.fc.bias.any()
