"""Names of the published files of Vision Longformer, and ours for them."""

import re
from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor

from .files import strip_module

EMBED_NAMES = {
    'proj.weight': 'patch_embed.projection.weight',
    'proj.bias': 'patch_embed.projection.bias',
    'norm_embed.weight': 'patch_embed.norm.weight',
    'norm_embed.bias': 'patch_embed.norm.bias',
    'cls_token': 'global_tokens',
    'cls_pos_embed': 'position_embed.global_tokens',
    'x_pos_embed': 'position_embed.rows',
    'y_pos_embed': 'position_embed.columns',
}
BLOCK_NAMES = {
    ('attn', 'norm.weight'): 'norm1.weight',
    ('attn', 'norm.bias'): 'norm1.bias',
    ('mlp', 'norm.weight'): 'norm2.weight',
    ('mlp', 'norm.bias'): 'norm2.bias',
    ('mlp', 'mlp.fc1.weight'): 'ffn.layers.0.0.weight',
    ('mlp', 'mlp.fc1.bias'): 'ffn.layers.0.0.bias',
    ('mlp', 'mlp.fc2.weight'): 'ffn.layers.1.weight',
    ('mlp', 'mlp.fc2.bias'): 'ffn.layers.1.bias',
}
ATTENTION_NAMES = {
    'local_relative_position_bias_table': 'relative_position_bias.table',
    'g2l_relative_position_bias': 'relative_position_bias.global_local',
    'g2g_relative_position_bias': 'relative_position_bias.global_global',
    'query_global.weight': 'q_global.weight',
    'query_global.bias': 'q_global.bias',
    'fast_attention.projection_matrix': 'projection_matrix',
    'proj_sr.weight': 'reduction.weight',
}
UNCHANGED_ATTENTION = re.compile(r'(qkv|proj|kv_global|proj_global)\.(weight|bias)|proj_[kv]')


#: Names of a Detectron2 detector beside its backbone, and mmdet's for them.
DETECTOR_NAMES = {
    r'proposal_generator\.rpn_head\.conv': 'rpn_head.rpn_conv',
    r'proposal_generator\.rpn_head\.objectness_logits': 'rpn_head.rpn_cls',
    r'proposal_generator\.rpn_head\.anchor_deltas': 'rpn_head.rpn_reg',
    r'roi_heads\.box_predictor\.cls_score': 'roi_head.bbox_head.fc_cls',
    r'roi_heads\.box_predictor\.bbox_pred': 'roi_head.bbox_head.fc_reg',
    r'roi_heads\.mask_head\.deconv': 'roi_head.mask_head.upsample',
    r'roi_heads\.mask_head\.predictor': 'roi_head.mask_head.conv_logits',
    r'head\.cls_score': 'bbox_head.retina_cls',
    r'head\.bbox_pred': 'bbox_head.retina_reg',
}
#: The same, for layers that are numbered: mmdet's name, how far apart the numbers are, and the first one.
DETECTOR_LAYERS = {
    r'backbone\.fpn_lateral(\d)': ('neck.lateral_convs.{}.conv', 1, None),
    r'backbone\.fpn_output(\d)': ('neck.fpn_convs.{}.conv', 1, None),
    r'backbone\.top_block\.p(\d)': ('neck.fpn_convs.{}.conv', 1, 3),
    r'roi_heads\.box_head\.fc(\d)': ('roi_head.bbox_head.shared_fcs.{}', 1, 1),
    r'roi_heads\.mask_head\.mask_fcn(\d)': ('roi_head.mask_head.convs.{}.conv', 1, 1),
    r'head\.cls_subnet\.(\d)': ('bbox_head.cls_convs.{}.conv', 2, 0),
    r'head\.bbox_subnet\.(\d)': ('bbox_head.reg_convs.{}.conv', 2, 0),
}
DETECTOR_DERIVED = re.compile(r'pixel_mean|pixel_std|.*anchor_generator\.cell_anchors\.\d+')


def convert_attention(published: Mapping[str, Tensor], dropped: dict[str, str], prefix: str = '') -> dict[str, Tensor]:
    """Convert the tensors of one attention.

    Args:
        published (Mapping[str, Tensor]): They, by name within the attention.
        dropped (dict[str, str]): Gets the names left out, and why.
        prefix (str): What precedes the names in the file. Defaults to ''.

    Returns:
        dict[str, Tensor]: By name within ``vil_mm``'s attention. Names that
        are not known stay as they are.
    """
    tensors = dict(published)
    if tensors.pop('relative_position_index', None) is not None:
        dropped[f'{prefix}relative_position_index'] = 'derived: computed from the grid'
    aliases = {name: name.replace('_global', '') for name in tensors if re.match(r'(query|kv|proj)_global\.', name)}
    if aliases and all(torch.equal(tensors[name], tensors[local]) for name, local in aliases.items()):
        for name, local in aliases.items():
            del tensors[name]
            dropped[f'{prefix}{name}'] = f'shared: equal to {local}'
    if {'proj_k', 'proj_v'} <= tensors.keys() and torch.equal(tensors['proj_k'], tensors['proj_v']):
        del tensors['proj_v']
        dropped[f'{prefix}proj_v'] = 'shared: equal to proj_k'
    for kind in ('weight', 'bias'):
        if f'query.{kind}' in tensors and f'kv.{kind}' in tensors:
            tensors[f'qkv.{kind}'] = torch.cat([tensors.pop(f'query.{kind}'), tensors.pop(f'kv.{kind}')])
    return {ATTENTION_NAMES.get(name, name): tensor for name, tensor in tensors.items()}


def convert_state_dict(published: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Convert a published state dict.

    Args:
        published (Mapping[str, Tensor]): Its tensors, with or without
            ``module.`` before all names.

    Returns:
        tuple[dict[str, Tensor], dict[str, str]]: The converted tensors, and
        the published names that were left out, with the reason.

    Raises:
        ValueError: If a name is not one of a Vision Longformer.
    """
    published = strip_module(published)
    converted, dropped, unknown = {}, {}, []
    attentions: dict[tuple[int, int], dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in published.items():
        match = re.fullmatch(r'layer(\d+)\.(\d+)\.(.+)', name)
        if name in ('head.weight', 'head.bias'):
            converted[name.replace('head.', 'head.fc.')] = tensor
        elif name in ('norm.weight', 'norm.bias'):
            converted[f'backbone.{name}'] = tensor
        elif name == 'calls_since_last_redraw':
            dropped[name] = 'a counter of training'
        elif match is None:
            unknown.append(name)
        else:
            stage, module, rest = int(match[1]), int(match[2]), match[3]
            # module 0 embeds; then attention and perceptron alternate
            block, kind = (module - 1) // 2, 'attn' if module % 2 else 'mlp'
            own = EMBED_NAMES.get(rest) if module == 0 else BLOCK_NAMES.get((kind, rest))
            if module == 0 and rest == 'cls_pos_embed' and tensor.shape[1] == 0:
                dropped[name] = 'empty: the stage has no global tokens'
            elif module == 0 and own:
                converted[f'backbone.stages.{stage - 1}.{own}'] = tensor
            elif own:
                converted[f'backbone.stages.{stage - 1}.blocks.{block}.{own}'] = tensor
            elif kind == 'attn' and module and rest.startswith('attn.'):
                attentions[stage, module][rest.removeprefix('attn.')] = tensor
            else:
                unknown.append(name)
    for (stage, module), tensors in attentions.items():
        prefix = f'layer{stage}.{module}.attn.'
        for name, tensor in convert_attention(tensors, dropped, prefix).items():
            if name not in ATTENTION_NAMES.values() and not UNCHANGED_ATTENTION.fullmatch(name):
                unknown.append(prefix + name)
            converted[f'backbone.stages.{stage - 1}.blocks.{(module - 1) // 2}.attn.{name}'] = tensor
    if unknown:
        raise ValueError(
            f'{len(unknown)} of {len(published)} names are not those of a Vision Longformer: {unknown[:5]}'
        )
    return converted, dropped


def convert_detector(published: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Convert the state dict of a published Detectron2 detector, as :func:`convert_state_dict` does a classifier's.

    Raises:
        ValueError: If a name is not one of a Mask R-CNN or a RetinaNet with a
            Vision Longformer.
    """
    bottom_up = 'backbone.bottom_up.'
    body = {name.removeprefix(bottom_up): t for name, t in published.items() if name.startswith(bottom_up)}
    converted, dropped = convert_state_dict(body)
    dropped = {bottom_up + name: reason for name, reason in dropped.items()}
    for name in ('backbone.norm', 'head.fc'):
        for kind in ('weight', 'bias'):
            if converted.pop(f'{name}.{kind}', None) is not None:
                old = name.replace('backbone.', '').replace('head.fc', 'head')
                dropped[f'{bottom_up}{old}.{kind}'] = 'unused: it acts on no output of the detector'
    levels = [int(name.split('fpn_lateral')[1][0]) for name in published if 'fpn_lateral' in name]
    unknown = []
    for name, tensor in published.items():
        module, _, kind = name.rpartition('.')
        if name.startswith(bottom_up):
            continue
        if DETECTOR_DERIVED.fullmatch(name):
            dropped[name] = 'derived: a setting of the config'
            continue
        own = next((new for old, new in DETECTOR_NAMES.items() if re.fullmatch(old, module)), None)
        for old, (new, step, first) in DETECTOR_LAYERS.items():
            match = re.fullmatch(old, module)
            if match:
                # RetinaNet's two top layers follow the outputs of its three levels
                number = int(match[1]) - (min(levels) if first is None else first)
                own = new.format(number // step)
        if own is None or kind not in ('weight', 'bias'):
            unknown.append(name)
        converted[f'{own}.{kind}'] = tensor
    if unknown or not levels:
        raise ValueError(
            f'{len(unknown)} of {len(published)} names are not those of a Mask R-CNN or RetinaNet of Detectron2 with a '
            f'feature pyramid: {unknown[:5]}'
        )
    return converted, dropped
