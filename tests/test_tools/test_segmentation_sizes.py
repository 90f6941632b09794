"""Segmenters are as accurate on images of any size as on the same images padded to multiples of 32."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.structures import PixelData

from tests.conftest import run_tool
from tests.scenes import DEMOS

BACKBONES = {
    'vil': dict(type='vil_mm.ViL', attn_cfg=dict(type='vil_mm.SlidingWindowAttention', window_size=4)),
    'l2vit': dict(type='vil_mm.L2ViT'),
    'vitae_v2': dict(type='vil_mm.ViTAEv2', arch='vsa-nano'),
    'swin_vsa': dict(type='vil_mm.SwinVSA', window_size=4),
    'dwnet': dict(type='vil_mm.DWNet'),
}
SIZES = [(128, 128), (127, 127), (124, 124), (95, 95), (63, 127)]


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp('scenes')
    run_tool('tools/dataset_converters/digit_scenes.py', '--root', root)
    return root


def train(family, scenes, work_dir, iterations=800):
    """Train a segmenter that says nothing of sizes, as in a config of mmsegmentation's own."""
    cfg = Config.fromfile(DEMOS['upernet'])
    cfg.model.backbone = dict(dict(arch='nano', output_norm='each', drop_path_rate=0.0), **BACKBONES[family])
    cfg.model.data_preprocessor.test_cfg = None
    cfg.train_dataloader.dataset.data_root = str(scenes)
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.train_cfg.max_iters = cfg.param_scheduler[1].end = iterations
    for name in ('cfg', 'dataloader', 'evaluator'):
        cfg.pop(f'val_{name}')
        cfg.pop(f'test_{name}')
    cfg.work_dir = str(work_dir)
    cfg.default_hooks.pop('visualization')
    cfg.default_hooks.checkpoint.save_best = None
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner.model.eval()


def mean_iou(model, scenes, size):
    """Mean IoU in percent on the upper left parts of the validation scenes."""
    from mmseg.evaluation import IoUMetric
    from mmseg.structures import SegDataSample

    metric = IoUMetric()
    metric.dataset_meta = dict(classes=[str(i) for i in range(11)])
    paths = sorted((scenes / 'val').iterdir())
    for path in paths:
        image = cv2.imread(str(path))[: size[0], : size[1]]
        labels = cv2.imread(str(scenes / 'label_maps/val' / path.name), cv2.IMREAD_UNCHANGED)[: size[0], : size[1]]
        sample = SegDataSample(
            gt_sem_seg=PixelData(data=torch.from_numpy(labels.astype(np.int64))[None]),
            metainfo=dict(img_shape=size, ori_shape=size),
        )
        data = dict(inputs=[torch.from_numpy(image).permute(2, 0, 1).contiguous()], data_samples=[sample])
        metric.process(data, [output.to_dict() for output in model.test_step(data)])
    return metric.evaluate(len(paths))['mIoU']


@pytest.mark.slow
@pytest.mark.parametrize('family', BACKBONES)
def test_any_size_is_as_accurate_as_padded(family, scenes, tmp_path):
    model = train(family, scenes, tmp_path)
    plain = {size: mean_iou(model, scenes, size) for size in SIZES}
    model.data_preprocessor.test_cfg = dict(size_divisor=32)
    padded = {size: mean_iou(model, scenes, size) for size in SIZES}
    print(family, plain, padded)
    assert padded[128, 128] > 40
    for size in SIZES:
        assert plain[size] > padded[size] - 0.3, (size, plain, padded)
