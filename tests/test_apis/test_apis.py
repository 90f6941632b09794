"""The models by name, in mmpretrain's own functions."""

import numpy as np
import torch
from mmengine.registry import init_default_scope
from mmpretrain import ImageClassificationInferencer, get_model, inference_model, list_models

import vil_mm.apis  # noqa: F401
from tests.conftest import ROOT


def test_all_configs_are_listed():
    for folder, task in (('', 'Image Classification'), ('segmentation', 'Semantic Segmentation')):
        listed = set(list_models('vil-*', task=task))
        assert listed == {path.stem for path in (ROOT / 'configs/vil' / folder).glob('*.py')}
    detectors = {path.stem for path in (ROOT / 'configs/vil/detection').glob('*.py')}
    assert set(list_models('*_vil-*', task='Object Detection')) == detectors
    assert set(list_models('*_vil-*', task='Instance Segmentation')) == {n for n in detectors if 'mask' in n}
    assert 'vil-small_8xb128_in1k' in list_models('vil', task='Image Classification')


def test_get_model():
    model = get_model('vil-tiny_8xb128_in1k', backbone=dict(drop_path_rate=0.2))
    assert type(model.backbone).__name__ == 'ViL' and not model.training
    assert model(torch.randn(1, 3, 224, 224)).shape == (1, 1000)


def test_inferencer(tmp_path):
    init_default_scope('mmpretrain')  # whatever an earlier test has left
    source = get_model('vil-nano_1xb64_digits')
    torch.save(dict(state_dict=source.state_dict(), meta={}), tmp_path / 'nano.pth')
    image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    inferencer = ImageClassificationInferencer(
        'vil-nano_1xb64_digits', pretrained=str(tmp_path / 'nano.pth'), classes=[str(digit) for digit in range(10)]
    )
    (result,) = inferencer(image)
    expected = inference_model(source, image)
    assert result['pred_class'] == str(result['pred_label'])
    np.testing.assert_allclose(result['pred_scores'], expected['pred_scores'], rtol=1e-5)
