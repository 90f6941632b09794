"""ViL against the published classifiers and detection backbones, through the converter and our configs."""

import pytest
import torch

from tests import goldens
from vil_mm.conversion.files import convert_file
from vil_mm.conversion.vil import convert_state_dict


@pytest.mark.parametrize('name', goldens.cases('vil'))
def test_golden(name, tmp_path):
    case, published, images, expected = goldens.load(name, torch.float64)
    published = {f'module.{key}': value for key, value in published.items()}
    torch.save(dict(net=published, arch='msvit', epoch=3, best_acc=0.5, optimizer={}), tmp_path / 'model_best.pth')
    source, target, config = (
        tmp_path / 'model_best.pth',
        tmp_path / 'converted.pth',
        goldens.write_config(name, tmp_path),
    )
    convert_file(source, target, convert_state_dict, ['net'], 'classification', 'vil', config=config)

    classifier = goldens.build(name, torch.float64)
    checkpoint = torch.load(tmp_path / 'converted.pth', weights_only=True)
    classifier.load_state_dict(checkpoint['state_dict'], strict=True)
    for dtype in (torch.float64, torch.float32):
        classifier.to(dtype)
        with torch.no_grad():
            logits = classifier.head(classifier.extract_feat(images.to(dtype)))
        goldens.check(case, expected, {'logits': logits}, dtype)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
@pytest.mark.parametrize('name', goldens.cases('vil_detection'))
def test_detection_golden(name, dtype):
    """The published detection backbone: raw maps of all stages, positions cropped, partial patches dropped."""
    case, published, images, expected = goldens.load(name, dtype)
    converted, _ = convert_state_dict(published)
    backbone = goldens.build(name, dtype).backbone
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
