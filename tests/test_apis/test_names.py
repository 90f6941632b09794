"""Our configs by name, in the functions and inferencers of mmdet and mmsegmentation."""

from itertools import islice

import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer, init_detector
from mmengine.config import Config
from mmengine.infer import BaseInferencer
from mmpretrain import ImageClassificationInferencer, get_model
from mmseg.apis import MMSegInferencer, inference_model, init_model

import vil_mm.apis  # noqa: F401
from tests.conftest import ROOT
from vil_mm.apis.names import named_configs

RETINANET, UPERNET = 'retinanet_vil-nano_fpn_1xb8-800i_digit-scenes', 'vil-nano_upernet_1xb8-1600i_digit-scenes-128x128'


def names(pattern):
    return [path.stem for path in ROOT.glob(pattern)]


def test_every_config_has_a_name_of_its_own():
    assert sorted(named_configs()) == sorted(names('configs/[!_]*/**/*.py'))


@pytest.mark.parametrize('scope, folder', [('mmdet', 'detection'), ('mmseg', 'segmentation')])
def test_inferencers_find_the_configs_of_their_task(scope, folder):
    """Before those of the library, whose list takes long to read."""
    ours = names(f'configs/*/{folder}/*.py')
    models = BaseInferencer._get_models_from_metafile(BaseInferencer._get_repo_or_mim_dir(scope))
    *found, theirs = [model['Name'] for model in islice(models, len(ours) + 1)]
    assert sorted(found) == sorted(ours) and len(ours) > 20
    assert theirs not in named_configs()


@pytest.mark.parametrize(
    'inferencer, init, name',
    [(DetInferencer, init_detector, RETINANET), (MMSegInferencer, init_model, UPERNET)],
    ids=['mmdet', 'mmseg'],
)
def test_a_name_is_as_good_as_a_file(inferencer, init, name, tmp_path):
    built = init(name, device='cpu')
    assert type(built.backbone).__name__ == 'ViL'
    checkpoint = str(tmp_path / 'model.pth')
    torch.save(
        dict(state_dict=built.state_dict(), meta=dict(dataset_meta=dict(classes=['a'], palette=[0]))), checkpoint
    )
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    inferred = [inferencer(model, checkpoint, device='cpu') for model in (name, str(named_configs()[name]))]
    outputs = [one.model.backbone(torch.ones(1, 3, 64, 96))[-1] for one in inferred]
    torch.testing.assert_close(*outputs, rtol=0, atol=0)
    if init is init_model:
        result = inference_model(init(name, checkpoint, device='cpu'), image)
        assert result.pred_sem_seg.data.shape == (1, 64, 96)


def test_what_is_no_name_is_refused_as_ever(tmp_path):
    with pytest.raises(FileNotFoundError, match='mask-rcnn_vil-huge'):
        Config.fromfile('mask-rcnn_vil-huge')
    with pytest.raises(ValueError, match='Cannot find model: mask-rcnn_vil-huge in mmdet'):
        DetInferencer('mask-rcnn_vil-huge', device='cpu')
    (tmp_path / 'mine.py').write_text('default_scope = "mmdet"')
    assert Config.fromfile(tmp_path / 'mine.py').default_scope == 'mmdet'


@pytest.mark.parametrize(
    'build, name, message',
    [
        (get_model, RETINANET, 'is a config for mmdet, not for mmpretrain: give the name to mmdet.apis.init_detector'),
        (ImageClassificationInferencer, UPERNET, 'is a config for mmseg, not for mmpretrain: give the name to mmseg'),
        (DetInferencer, UPERNET, 'is a config for mmseg, not for mmdet: give the name to mmseg.apis.init_model or'),
        (DetInferencer, 'vil-tiny_8xb128_in1k', 'for mmpretrain, not for mmdet: give the name to mmpretrain.get_model'),
        (MMSegInferencer, RETINANET, 'is a config for mmdet, not for mmseg: give the name to mmdet.apis.init_detector'),
    ],
)
def test_a_name_of_another_task_says_what_builds_it(build, name, message):
    with pytest.raises(ValueError, match=message):
        build(name)
