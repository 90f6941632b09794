"""Files of Swin Transformer, official ones and those of OpenMMLab, for Swin with varied-size windows."""

from collections.abc import Mapping

import torch
from torch import Tensor

from .renaming import Converted, Rules, convert_model, strip_module

#: Keys that may hold the tensors: in the official files, and in those of OpenMMLab.
KEYS = 'model', 'state_dict'

BLOCK_NAMES = {
    '(norm[12])': r'\1',
    '(attn.w_msa|attn).(qkv|proj)': r'attn.\2',
    '(attn.w_msa|attn).relative_position_bias_table': 'attn.relative_position_bias.table',
    '(mlp.fc1|ffn.layers.0.0)': 'ffn.layers.0.0',
    '(mlp.fc2|ffn.layers.1)': 'ffn.layers.1',
}
NAMES: Rules = {
    'patch_embed.(proj|projection)': 'stages.0.embed.projection',
    'patch_embed.norm': 'stages.0.embed.norm',
    r'(layers|stages).(\d+).blocks.(\d+).': (r'stages.\2.blocks.\3.', BLOCK_NAMES),
    # there at the end of a stage, here at the beginning of the next
    r'(layers|stages).(\d+).downsample.(reduction|norm)': lambda m: f'stages.{int(m[2]) + 1}.embed.{m[3]}',
    r'(norm\d?)': r'\1',
}
LEFT_OUT = {
    r'[\w.]+.relative_position_index': 'derived: computed from the window',
    r'[\w.]+.attn_mask': 'derived: the mask of shifted windows',
}


def convert_state_dict(published: Mapping[str, Tensor]) -> Converted:
    """Convert the state dict of a Swin Transformer into that of a ``vil_mm.SwinVSA``.

    Predictions and position encodings, which Swin lacks, are added as zeros: the
    converted model starts as a Swin Transformer whose windows are not shifted.

    Args:
        published (Mapping[str, Tensor]): The tensors of a classifier, or of a
            detector or segmenter.

    Returns:
        Converted: The converted tensors, and what was left out.

    Raises:
        ValueError: If there are unknown names.
    """
    published = strip_module(published)
    of_openmmlab = any('.w_msa.' in name for name in published)
    converted, dropped = convert_model(published, NAMES, 'a Swin Transformer', left_out=LEFT_OUT)
    if of_openmmlab:
        for name in [name for name in converted if '.embed.' in name and 'stages.0.' not in name]:
            converted[name] = order_pixels(converted[name])
    if {name for name in converted if 'backbone.norm' in name} == {f'backbone.norm3.{k}' for k in ('weight', 'bias')}:
        # the classifiers of OpenMMLab number the norm after the last stage
        for kind in ('weight', 'bias'):
            converted[f'backbone.norm.{kind}'] = converted.pop(f'backbone.norm3.{kind}')
    suffix = 'attn.relative_position_bias.table'
    for name in [name for name in converted if name.endswith(suffix)]:
        block, heads = name.removesuffix(suffix), converted[name].shape[1]
        weight = converted[f'{block}norm1.weight']
        channels = len(weight)
        converted[f'{block}attn.predict.weight'] = weight.new_zeros(4 * heads, channels)
        converted[f'{block}attn.predict.bias'] = weight.new_zeros(4 * heads)
        converted[f'{block}position_encoding.proj.weight'] = weight.new_zeros(channels, 1, 7, 7)
        converted[f'{block}position_encoding.proj.bias'] = weight.new_zeros(channels)
    return converted, dropped


def order_pixels(tensor: Tensor) -> Tensor:
    """Bring the last dimension of OpenMMLab's patch merging into the official order.

    There, a channel's four pixels are neighbors, row by row; officially, all
    channels of a pixel are, column by column.
    """
    parts = tensor.unflatten(-1, (-1, 2, 2))
    return torch.moveaxis(parts, (-3, -2, -1), (-1, -2, -3)).flatten(-3)
