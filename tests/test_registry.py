"""Drop-in use, without a word about vil_mm but the type; and missing libraries."""

import textwrap

import pytest

from tests.conftest import run_tool

BACKBONE = """dict(type='vil_mm.ViL', arch='tiny', output_norm=None, drop_path_rate=0.1,
    attn_cfg=dict(type='vil_mm.SlidingWindowAttention'))"""

TRAIN_STEP = """
import sys
assert 'vil_mm' not in sys.modules
import torch
from pathlib import Path
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
import {library}
{imports}
configs = Path({library}.__file__).parent / '.mim' / 'configs' / '_base_' / 'models'
init_default_scope('{library}')
for name in {configs}:
    cfg = Config.fromfile(configs / name)
    cfg.model.backbone = {backbone}
    {changes}
    model = MODELS.build(dict(cfg.model, type='{library}.' + cfg.model.type))
    model.init_weights()
    for size in [(157, 211), (20, 24)]:
        image = torch.randint(0, 255, (3, *size), dtype=torch.uint8)
        {sample}
        optimizer = torch.optim.SGD(model.parameters(), 1e-4)
        data = model.data_preprocessor(dict(inputs=[image] * 2, data_samples=[sample] * 2), training=True)
        loss, log = model.parse_losses(model(**data, mode='loss'))
        loss.backward()
        optimizer.step()
        assert loss.isfinite(), log
        without = [n for n, p in model.backbone.named_parameters() if p.grad is None]
        assert without == [], without
        predictions = model.eval().predict(data['inputs'], data['data_samples'])
        assert len(predictions) == 2
        model.train()
"""

DETECTION = dict(
    library='mmdet',
    configs=['mask-rcnn_r50_fpn.py', 'retinanet_r50_fpn.py'],
    imports="""
import numpy as np
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData
""",
    sample="""
sample = DetDataSample(metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0)))
masks = BitmapMasks(np.ones((1, *size), dtype=np.uint8), *size)
sample.gt_instances = InstanceData(bboxes=torch.tensor([[2.0, 3, 18, 17]]), labels=torch.tensor([1]), masks=masks)
""",
    # no padding to a multiple of 32, so that the backbone sees the odd sizes
    changes="""
cfg.model.neck.in_channels = [48, 96, 192, 384]
cfg.model.data_preprocessor.pad_size_divisor = 1
""",
)
SEGMENTATION = dict(
    library='mmseg',
    configs=['upernet_r50.py'],
    imports="""
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
""",
    sample="""
sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size))
sample.gt_sem_seg = PixelData(data=torch.randint(0, 19, (1, *size)))
""",
    changes="""
cfg.model.pretrained = None
cfg.model.decode_head.update(in_channels=[48, 96, 192, 384], channels=64, norm_cfg=dict(type='BN'))
cfg.model.auxiliary_head.update(in_channels=192, channels=32, norm_cfg=dict(type='BN'))
cfg.model.data_preprocessor.size_divisor = 1
""",
)


@pytest.mark.parametrize('task', [DETECTION, SEGMENTATION], ids=['detection', 'segmentation'])
def test_drops_into_stock_configs(task, tmp_path):
    task = dict(task, changes=indent(task['changes'], 4), sample=indent(task['sample'], 8))
    program = tmp_path / 'train_step.py'
    program.write_text(TRAIN_STEP.format(backbone=BACKBONE, **task))
    run_tool(program)


def indent(lines, columns):
    """Indent all lines but the first, for a place in a program."""
    return textwrap.indent(lines.strip(), ' ' * columns).strip()


@pytest.mark.parametrize(
    'missing, module, message',
    [
        ('mmengine', 'vil_mm.registry', 'mmengine is not installed. Install it with: pip install "vil_mm[cls]"'),
        ('mmcv', 'vil_mm.models', 'mmcv is not installed. Install it with: pip install "vil_mm[cls]"'),
    ],
)
def test_missing_library_names_the_extra(missing, module, message):
    program = f"import sys; sys.modules['{missing}'] = None; import {module}"
    result = run_tool('-c', program, check=False)
    assert result.returncode != 0 and message in result.stdout, result.stdout


def test_tools_name_the_extra():
    program = (
        "import runpy, sys; sys.modules['mmengine'] = None; sys.argv = ['train.py', '--help']\n"
        "runpy.run_path('tools/train.py', run_name='__main__')"
    )
    result = run_tool('-c', program, check=False)
    assert result.returncode != 0 and 'pip install "vil_mm[cls]"' in result.stdout, result.stdout


def test_missing_task_library_names_the_extra():
    program = (
        "import sys; sys.modules['mmpretrain'] = None\n"
        'from vil_mm.engine.launch import load_config\n'
        "load_config('configs/vil/vil-small_8xb128_in1k.py', None, 'none', None)"
    )
    result = run_tool('-c', program, check=False)
    assert result.returncode != 0 and 'pip install "vil_mm[cls]"' in result.stdout, result.stdout


def test_importing_the_package_is_light():
    run_tool('-c', "import sys, vil_mm; assert not {'torch', 'mmengine'} & set(sys.modules); print(vil_mm.__version__)")
