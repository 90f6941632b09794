"""Published classification files of Vision Longformer."""

import re
from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor

from .renaming import Converted, Rules, concatenate, convert_model, strip_module

EMBED_NAMES = {
    'proj': 'embed.patch_embed.projection',
    'norm_embed': 'embed.patch_embed.norm',
    'cls_token': 'embed.global_tokens',
    'cls_pos_embed': 'embed.position_embed.global_tokens',
    'x_pos_embed': 'embed.position_embed.rows',
    'y_pos_embed': 'embed.position_embed.columns',
}
ATTENTION_NAMES = {
    'norm': 'norm1',
    'attn.(qkv|proj|kv_global|proj_global|proj_[kv])': r'attn.\1',
    'attn.query_global': 'attn.q_global',
    'attn.local_relative_position_bias_table': 'attn.relative_position_bias.table',
    'attn.g2l_relative_position_bias': 'attn.relative_position_bias.global_local',
    'attn.g2g_relative_position_bias': 'attn.relative_position_bias.global_global',
    'attn.fast_attention.projection_matrix': 'attn.projection_matrix',
    'attn.proj_sr': 'attn.reduction',
}
PERCEPTRON_NAMES = {
    'norm': 'norm2',
    'mlp.fc1': 'ffn.layers.0.0',
    'mlp.fc2': 'ffn.layers.1',
}


def stage(match: re.Match) -> str:
    """Name a stage, which the publication counts from 1."""
    return f'stages.{int(match[1]) - 1}.'


def block(match: re.Match) -> str:
    """Name a block, which is two modules of the publication, after one that embeds."""
    return f'{stage(match)}blocks.{(int(match[2]) - 1) // 2}.'


NAMES: Rules = {
    r'layer(\d+).0.': (stage, EMBED_NAMES),
    r'layer(\d+).(\d*[13579]).': (block, ATTENTION_NAMES),
    r'layer(\d+).(\d*[2468]|\d+0).': (block, PERCEPTRON_NAMES),
    'norm': 'norm',
}
LEFT_OUT = {
    r'[\w.]+.relative_position_index': 'derived: computed from the grid',
    'calls_since_last_redraw': 'a counter of training',
}


def convert_state_dict(published: Mapping[str, Tensor]) -> Converted:
    """Convert a published state dict.

    Args:
        published (Mapping[str, Tensor]): The tensors of a classifier.

    Returns:
        Converted: The converted tensors, and what was left out.

    Raises:
        ValueError: If there are unknown names.
    """
    published = strip_module(published)
    redundant = find_redundant(published)
    published = {name: tensor for name, tensor in published.items() if name not in redundant}
    published = concatenate(published, ['query', 'kv'], 'qkv')
    converted, dropped = convert_model(published, NAMES, 'a Vision Longformer', left_out=LEFT_OUT)
    return converted, {**redundant, **dropped}


def find_redundant(published: Mapping[str, Tensor]) -> dict[str, str]:
    """Find tensors that are empty, or shared with others of the same attention.

    Args:
        published (Mapping[str, Tensor]): The published tensors.

    Returns:
        dict[str, str]: Their names, and why they are redundant.
    """
    redundant, copies = {}, defaultdict(list)
    for name, tensor in published.items():
        if name.endswith('.cls_pos_embed') and tensor.shape[1] == 0:
            redundant[name] = 'empty: the stage has no global tokens'
        elif name.endswith('.proj_v'):
            copies[name].append((name, name.removesuffix('v') + 'k'))
        elif match := re.fullmatch(r'(.+\.attn\.)(query|kv|proj)_global(\..+)', name):
            # the global projections of an attention are shared together or not at all
            copies[match[1]].append((name, ''.join(match.groups())))
    for pairs in copies.values():
        if all(original in published and torch.equal(published[name], published[original]) for name, original in pairs):
            redundant.update((name, f'shared: equal to {original}') for name, original in pairs)
    return redundant
