"""The published models' cases: their files, and the models of this package that they are of."""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn

from tests.data.goldens import golden
from tests.test_configs.helpers import build_model
from tests.test_configs.helpers import load as load_config
from vil_mm.models.backbones.vil_arch import resolve_arch

FOLDER = Path(__file__).parent / 'data' / 'goldens'

#: Largest error relative to the largest value; the goldens are rounded to float32.
TOLERANCE = {torch.float64: 2e-7, torch.float32: 1e-4}

#: A case is drawn once for the tests in both precisions, which follow each other.
_draw = lru_cache(maxsize=1)(golden.load)

MASKS = {0: 'block', 1: 'exact', -1: 'cyclic'}

#: Cases of whole models: the config that is shipped for that model, and the settings of its backbone that the case has
#: otherwise: another size of the image, or an option that no config uses.
CONFIGS: dict[str, tuple[str, dict]] = {
    'vil/cls_tiny_ape_224': ('vil-tiny-ape_8xb128_in1k', {}),
    'vil/cls_tiny_rpe_160_mode1_eval': ('vil-tiny-random-shift_8xb128_in1k', dict(img_size=160)),
    'vil/cls_tiny_rpe_160_modem1': ('vil-tiny_8xb128_in1k', dict(img_size=160, attn_cfg=dict(neighbors='self'))),
    'vil/cls_tiny_rpe_160_avgpool': (
        'vil-tiny_8xb128_in1k',
        dict(img_size=160, arch=dict(resolve_arch('tiny'), num_global_tokens=[1, 1, 1, 2])),
    ),
    'vil/cls_tiny_rpe_160_noshare_g3': (
        'vil-tiny_8xb128_in1k',
        dict(
            img_size=160,
            arch=dict(resolve_arch('tiny'), num_global_tokens=[3, 3, 3, 0]),
            attn_cfg=dict(share_global_proj=False),
        ),
    ),
    'vil/cls_small_rpe_224': ('vil-small_8xb128_in1k', {}),
    'vil/cls_small_full_ape_224': ('vil-small-full_8xb128_in1k', {}),
    'vil/cls_small_global_224': ('vil-small-global_8xb128_in1k', {}),
    'vil/cls_small_linformer_224': ('vil-small-linformer_8xb128_in1k', {}),
    'vil/cls_small_partial_linformer_224': ('vil-small-partial-linformer_8xb128_in1k', {}),
    'vil/cls_small_performer_224': ('vil-small-performer_8xb128_in1k', {}),
    'vil/cls_small_srformer32_224': ('vil-small-sra32_8xb128_in1k', {}),
    'vil/cls_base_deep_ape_384': ('vil-base-deep-ape_8xb80_in1k-384px', {}),
    'vil/det_tiny_rpe_250x333': ('mask-rcnn_vil-tiny_fpn_1x_coco', {}),
    'vil/det_tiny_rpe_256x352': ('mask-rcnn_vil-tiny_fpn_1x_coco', {}),
    'vil/det_small_rpe_250x333': ('mask-rcnn_vil-small_fpn_1x_coco', {}),
    'vil/det_small_rpe_256x352': ('mask-rcnn_vil-small_fpn_1x_coco', {}),
    'vil/det_tiny_ape_partial_256x352': ('mask-rcnn_vil-small-partial-ape_fpn_1x_coco', dict(arch='tiny')),
    **{
        f'vil/cls_small_rpe_160_{suffix}': ('vil-small_8xb128_in1k', dict(img_size=160, attn_cfg=dict(mask=mask)))
        for suffix, mask in (('e0', 'block'), ('e1', 'exact'), ('em1', 'cyclic'))
    },
    **{
        f'vil/cls_tiny_rpe_allsparse_176_{suffix}': (
            'vil-tiny_8xb128_in1k',
            dict(
                img_size=176,
                attn_cfg=dict(type='vil_mm.SlidingWindowAttention', mask=mask),
                partial_patches='drop',  # of 11x11
            ),
        )
        for suffix, mask in (('e0', 'block'), ('e1', 'exact'), ('em1', 'cyclic'))
    },
    **{
        f'vil_detector/{name}_{part}': (f'{config}_vil-tiny_fpn_1x_coco', {})
        for name, config, parts in (
            ('mask_rcnn_tiny', 'mask-rcnn', ('fpn', 'rpn', 'roi', 'detections')),
            ('retinanet_tiny', 'retinanet', ('fpn', 'head', 'detections')),
        )
        for part in parts
    },
    'l2vit/l2vit_tiny_cls_224': ('l2vit-tiny_32xb128_in1k', {}),
    'l2vit/l2vit_tiny_backbone_150x218': ('mask-rcnn_l2vit-tiny_fpn_ms-crop-1x_coco', {}),
    'vitaev2_vsa/vitaev2_vsa_s_cls_224': ('vitae-v2-vsa-small_8xb128_in1k', {}),
    'vitaev2_vsa/vitaev2_vsa_s_backbone_256x320': ('mask-rcnn_vitae-v2-vsa-small_fpn_ms-crop-1x_coco', {}),
    'dwnet/dwnet_tiny_cls_224': ('dwnet-tiny_8xb128_in1k', {}),
    'dwnet/dynamic_dwnet_tiny_cls_224': ('dynamic-dwnet-tiny_8xb128_in1k', {}),
    'dwnet/dwnet_tiny_backbone_171x245': ('cascade-mask-rcnn_dwnet-tiny_fpn_ms-crop-3x_coco', {}),
}


def cases(family: str, folder: str = 'vil') -> list[str]:
    """Names of the cases of a family."""
    paths = (FOLDER / folder).glob('*.json')
    return sorted(path.stem for path in paths if json.loads(path.read_text())['family'] == family)


def load(name: str, dtype: torch.dtype, folder: str = 'vil') -> tuple[dict, dict[str, Tensor], Tensor, dict]:
    """Load a case: its description, published state dict, input and expected outputs."""
    case, state, inputs, expected = _draw(FOLDER / folder / name)
    dtypes = {key: torch.int64 if key.endswith('num_batches_tracked') else dtype for key in state}
    state = {key: torch.from_numpy(np.array(value)).to(dtypes[key]) for key, value in state.items()}
    for key, shape in case.get('derived', []):
        state[key] = torch.zeros(shape, dtype=torch.int64)
    return case, state, torch.from_numpy(inputs.copy()).to(dtype), expected


def build(name: str, dtype: torch.dtype, folder: str = 'vil') -> nn.Module:
    """Build the model of a case, from the config that is shipped for it, for evaluation."""
    return build_model(config_of(name, folder)).to(dtype).eval()


def config_of(name: str, folder: str = 'vil') -> Config:
    """Load the config that is shipped for the model of a case, with the settings of the case."""
    config, settings = CONFIGS[f'{folder}/{name}']
    cfg = load_config(config)
    cfg.model.backbone.pop('init_cfg', None)
    cfg.model.backbone.update(settings)
    return cfg


def write_config(name: str, target: Path, folder: str = 'vil') -> str:
    """Write that config to a folder, for a converter; returns its path."""
    config_of(name, folder).dump(target / 'config.py')
    return str(target / 'config.py')


def check(case: dict, expected: dict, outputs: dict[str, Tensor], dtype: torch.dtype) -> None:
    """Compare outputs, by golden name, with all that the case expects."""
    assert outputs.keys() == expected.keys()
    for description in case['outputs']:
        name = description['name']
        assert list(outputs[name].shape) == description['shape']
        got = golden.sample(outputs[name].detach().double().numpy(), description['index'])
        error = np.abs(got - expected[name]).max() / np.abs(expected[name]).max()
        assert error <= TOLERANCE[dtype], f'{name}: relative error {error:.2e}'


def neighbors(mode: int, sampled_mode: int | None = None) -> str | int:
    """The package's word for a published mode."""
    if sampled_mode is not None:
        return sampled_mode
    return {0: 'all', -1: 'self'}.get(mode, 'random')


#: Per published attention type: the mechanism, whose ``f`` and ``s`` are the arch string's.
MECHANISMS = {
    'full': 'vil_mm.FullAttention',
    'linformer': 'vil_mm.LinformerAttention',
    'srformer': 'vil_mm.SpatialReductionAttention',
    'performer': 'vil_mm.PerformerAttention',
}


def attn_cfg(build: dict) -> dict:
    """The ``attn_cfg`` of ViL that a published constructor's arguments ask for, beside the arch string."""
    if build['attn_type'] not in MECHANISMS:
        return sliding_window_settings(build)
    settings = dict(share_kv=build['share_kv']) if build['attn_type'] == 'linformer' else {}
    return dict(type=MECHANISMS[build['attn_type']], **settings)


def sliding_window_settings(build: dict) -> dict:
    """Settings of the sliding window that a published constructor's arguments ask for."""
    return dict(
        mask=MASKS[build['sw_exact']],
        neighbors=neighbors(build['mode']),
        share_global_proj=build['sharew'],
        only_global=build['only_glo'],
    )
