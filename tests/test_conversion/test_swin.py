"""Files of Swin Transformer become Swin with varied-size windows, which computes the same until it is trained."""

import pytest
import torch
from mmpretrain.models import SwinTransformer

from vil_mm.conversion.swin import convert_state_dict, order_pixels
from vil_mm.models import SwinVSA

#: One block a stage, so that Swin shifts no window.
ARCH = dict(embed_dims=16, depths=[1] * 4, num_heads=[1, 2, 2, 4])
OWN_ARCH = dict(ARCH, embed_dims=[16, 32, 64, 128])


def randomized(model):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    model.double().eval()  # mmpretrain's Swin does not return itself
    return model


def official(state):
    """Names and order of pixels of the official classifiers' files."""
    published = {}
    for name, tensor in state.items():
        if name.startswith(('backbone.norm0.', 'backbone.norm1.', 'backbone.norm2.')):
            continue
        if 'downsample' in name:
            tensor = order_pixels(tensor)
        for ours, theirs in (
            ('backbone.', ''),
            ('patch_embed.projection', 'patch_embed.proj'),
            ('stages.', 'layers.'),
            ('attn.w_msa.', 'attn.'),
            ('ffn.layers.0.0', 'mlp.fc1'),
            ('ffn.layers.1', 'mlp.fc2'),
            ('norm3.', 'norm.'),
        ):
            name = name.replace(ours, theirs)
        published[name] = tensor
    return published


@pytest.fixture(scope='module')
def classifier():
    """The tensors of a Swin Transformer with norms of all outputs, images, and what it computes of them."""
    swin = randomized(SwinTransformer(ARCH, window_size=7, out_indices=(0, 1, 2, 3)))
    images = torch.randn(2, 3, 224, 224, dtype=torch.float64)
    state = {f'backbone.{name}': tensor for name, tensor in swin.state_dict().items()}
    return state, images, swin(images)


@pytest.mark.parametrize('kind', ['openmmlab', 'official'])
def test_converted_model_computes_the_same(classifier, kind):
    state, images, expected = classifier
    published = official(state) if kind == 'official' else state
    converted, dropped = convert_state_dict(published)
    assert dropped and all('relative_position_index' in name for name in dropped)
    model = SwinVSA(OWN_ARCH, output_norm='each' if kind == 'openmmlab' else 'last').double().eval()
    model.load_state_dict({name.removeprefix('backbone.'): t for name, t in converted.items()}, strict=True)
    outputs = model(images)
    if kind == 'official':  # a classifier, which has no norms of other stages
        outputs, expected = outputs[3], expected[3]
    torch.testing.assert_close(outputs, expected)


def test_converted_model_trains_what_swin_lacks(classifier):
    state, images, _ = classifier
    model = SwinVSA(OWN_ARCH, output_norm='each').double()
    converted, _ = convert_state_dict(state)
    model.load_state_dict({name.removeprefix('backbone.'): t for name, t in converted.items()})
    model(images[:1, :, :64, :64])[-1].square().sum().backward()
    added = {name: p for name, p in model.named_parameters() if 'predict' in name or 'position_encoding' in name}
    assert len(added) == 4 * 4 and all(p.grad.any() for p in added.values())


def test_norms_of_a_detector(classifier):
    state, *_ = classifier
    norms = {f'backbone.norm{i}.{kind}': torch.ones(16 * 2**i) for i in range(4) for kind in ('weight', 'bias')}
    others = {'neck.lateral_convs.0.conv.weight': torch.zeros(1)}
    converted, _ = convert_state_dict({**state, **norms, **others})
    assert converted.keys() >= {*norms, *others} and 'backbone.norm.weight' not in converted


def test_as_a_command(classifier, tmp_path, run_converter):
    state, *_ = classifier
    state = {**state, 'head.fc.weight': torch.zeros(10, 128), 'head.fc.bias': torch.zeros(10)}
    torch.save(dict(state_dict=state), tmp_path / 'swin.pth')
    backbone = dict(type='vil_mm.SwinVSA', arch=OWN_ARCH, output_norm='each')
    model = dict(backbone=backbone, head=dict(num_classes=10, in_channels=128))
    (tmp_path / 'config.py').write_text(f'model = {model}')
    words = tmp_path / 'swin.pth', tmp_path / 'converted.pth', '--config', tmp_path / 'config.py'
    run_converter('swin2mm.py', *words)
    converted = torch.load(tmp_path / 'converted.pth', weights_only=True)['state_dict']
    assert 'head.fc.weight' in converted and 'backbone.stages.3.blocks.0.attn.predict.weight' in converted


def test_another_family_is_refused():
    with pytest.raises(ValueError, match=r'1 of 1 names are not those of a Swin Transformer'):
        convert_state_dict({'layer1.0.proj.weight': torch.zeros(1)})
