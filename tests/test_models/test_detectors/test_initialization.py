"""A published classification file initializes a detector's backbone, as the publication's own conversion does."""

import torch
import torch.nn.functional as F

from tests import goldens
from vil_mm.conversion.files import convert_file
from vil_mm.conversion.vil import convert_state_dict
from vil_mm.registry import MODELS


def detection_backbone(build, checkpoint, **kwargs):
    """The backbone of our detection configs, initialized from a converted file."""
    cfg = dict(
        type='vil_mm.ViL',
        arch=build['arch'].replace('s0', 's1'),
        img_size=1344,
        attn_cfg=dict(type='vil_mm.SlidingWindowAttention'),
        position_fit='crop',
        partial_patches='drop',
        output_norm=None,
        init_cfg=dict(type='Pretrained', checkpoint=str(checkpoint), prefix='backbone.'),
    )
    backbone = MODELS.build({**cfg, **kwargs})
    backbone.init_weights()
    return backbone


def convert(name, folder):
    """Convert a golden case's weights; give its build, its weights and the file."""
    case, published, _, _ = goldens.load(name, torch.float32)
    torch.save(dict(net=published), folder / 'model_best.pth')
    source, target, config = folder / 'model_best.pth', folder / 'converted.pth', goldens.write_config(name, folder)
    convert_file(source, target, convert_state_dict, ['net'], 'classification', 'vil', config=config)
    return case['build'], published, folder / 'converted.pth'


def test_full_attention_becomes_sliding_windows(tmp_path):
    build, published, checkpoint = convert('cls_tiny_rpe_160_mode1_eval', tmp_path)
    state = detection_backbone(build, checkpoint).state_dict()
    names = [name for name in published if name.endswith('local_relative_position_bias_table')]
    sides = set()
    for name in names:
        stage, module = (int(part) for part in name.removeprefix('layer').split('.')[:2])
        ours = state[f'stages.{stage - 1}.blocks.{(module - 1) // 2}.attn.relative_position_bias.table']
        side = round(len(published[name]) ** 0.5)
        sides.add((side, ours.shape[0]))
        table = published[name].unflatten(0, (side, side)).permute(2, 0, 1)[None]
        resized = F.interpolate(table, size=ours.shape[:2], mode='bilinear', align_corners=False)
        torch.testing.assert_close(ours, resized[0].permute(1, 2, 0))
        # queries, keys and values are one product in full attention as in ours
        if side != ours.shape[0]:
            qkv = published[name.replace('local_relative_position_bias_table', 'qkv.weight')]
            assert torch.equal(state[f'stages.{stage - 1}.blocks.{(module - 1) // 2}.attn.qkv.weight'], qkv)
    # windows of 7 keep theirs; the last two stages, full for 160 pixels, are resampled
    assert sides == {(27, 27), (19, 27), (9, 27)}


def test_positions_are_resized_to_the_largest_image(tmp_path):
    build, published, checkpoint = convert('cls_tiny_ape_224', tmp_path)
    backbone = detection_backbone(build, checkpoint)
    for i, length in enumerate((336, 168, 84, 42)):
        for ours, theirs in (('rows', 'x_pos_embed'), ('columns', 'y_pos_embed')):
            position = getattr(backbone.stages[i].embed.position_embed, ours)
            old = published[f'layer{i + 1}.0.{theirs}']
            resized = F.interpolate(old.mT, size=length, mode='linear', align_corners=False).mT
            assert position.shape[1] == length
            torch.testing.assert_close(position, resized)
        # a token of a class stands for the stage's global tokens
        if backbone.stages[i].embed.global_tokens is not None:
            assert torch.equal(backbone.stages[i].embed.global_tokens, published[f'layer{i + 1}.0.cls_token'])
