"""ViL against the published classifiers, loaded through the converter."""

import pytest
import torch
from mmengine.registry import init_default_scope

from tests import goldens
from vil_mm.conversion.files import convert_file
from vil_mm.conversion.vil import convert_state_dict
from vil_mm.registry import MODELS


def build_classifier(build, widths):
    """The mmpretrain classifier that a published constructor's arguments ask for."""
    init_default_scope('mmpretrain')
    last_globals = 'g0' not in build['arch'].split('_')[-1].split(',')
    head_token = last_globals and not build['avg_pool']
    return MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(
                type='vil_mm.ViL',
                arch=build['arch'],
                img_size=build['img_size'],
                attn_cfg=goldens.attn_cfg(build),
                drop_path_rate=build['drop_path_rate'],
                partial_patches='drop',
                out_type='cls_token' if head_token else 'avg_featmap',
                out_indices=(3,),
            ),
            head=dict(type='mmpretrain.LinearClsHead', num_classes=build['num_classes'], in_channels=widths),
        )
    )


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
@pytest.mark.parametrize('name', goldens.cases('vil'))
def test_golden(name, dtype, tmp_path):
    case, published, images, expected = goldens.load(name, dtype)
    published = {f'module.{key}': value for key, value in published.items()}
    torch.save(dict(net=published, arch='msvit', epoch=3, best_acc=0.5, optimizer={}), tmp_path / 'model_best.pth')
    convert_file(tmp_path / 'model_best.pth', tmp_path / 'converted.pth', convert_state_dict, ['net'], 'classification')

    classifier = build_classifier(case['build'], published['module.head.weight'].shape[1]).to(dtype).eval()
    checkpoint = torch.load(tmp_path / 'converted.pth', weights_only=True)
    classifier.load_state_dict(checkpoint['state_dict'], strict=True)
    with torch.no_grad():
        logits = classifier.head(classifier.extract_feat(images))
    goldens.check(case, expected, {'logits': logits}, dtype)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
@pytest.mark.parametrize('name', goldens.cases('vil_detection'))
def test_detection_golden(name, dtype):
    """The published detection backbone: raw maps of all stages, positions cropped, partial patches dropped."""
    case, published, images, expected = goldens.load(name, dtype)
    build = case['build']
    converted, _ = convert_state_dict(published)
    backbone = MODELS.build(
        dict(
            type='vil_mm.ViL',
            arch=build['arch'],
            # built for the largest image, rounded up to the last stride
            img_size=-(-build['img_size'] // 32) * 32,
            position_fit='crop',
            partial_patches='drop',
            output_norm=None,
            attn_cfg=goldens.attn_cfg(build),
        )
    )
    backbone = backbone.to(dtype).eval()
    state = {key.removeprefix('backbone.'): value for key, value in converted.items() if key.startswith('backbone.')}
    # the published backbone holds a final norm and a head, which act on nothing
    assert {key for key in converted if not key.startswith('backbone.stages.')} == {
        'backbone.norm.weight',
        'backbone.norm.bias',
        'head.fc.weight',
        'head.fc.bias',
    }
    backbone.load_state_dict({key: value for key, value in state.items() if not key.startswith('norm.')}, strict=True)
    with torch.no_grad():
        maps = backbone(images)
    goldens.check(case, expected, {f'layer{i}': featmap for i, featmap in enumerate(maps, start=1)}, dtype)
