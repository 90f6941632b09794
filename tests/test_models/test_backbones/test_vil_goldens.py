"""ViL against the published classifiers, loaded through the converter."""

import pytest
import torch
from mmengine.registry import init_default_scope

from tests import goldens
from tools.model_converters.vil2mm import convert_file
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
    convert_file(tmp_path / 'model_best.pth', tmp_path / 'converted.pth')

    classifier = build_classifier(case['build'], published['module.head.weight'].shape[1]).to(dtype).eval()
    checkpoint = torch.load(tmp_path / 'converted.pth', weights_only=True)
    classifier.load_state_dict(checkpoint['state_dict'], strict=True)
    with torch.no_grad():
        logits = classifier.head(classifier.extract_feat(images))
    goldens.check(case, expected, {'logits': logits}, dtype)
