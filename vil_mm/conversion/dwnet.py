"""Names of the published files of DWNet and Dynamic-DWNet, and ours for them."""

import re
from collections.abc import Mapping

from torch import Tensor

from .files import OTHER_PARTS, strip_module

#: Under which a file holds its tensors: a classification file, or one of a detector or segmentor.
KEYS = 'model', 'state_dict'
MODULE_NAMES = {
    'patch_embed.proj': 'stages.0.embed.projection',
    'patch_embed.norm': 'stages.0.embed.norm',
    'norm': 'norm',
}
#: Modules of a block. ``attn2conv.conv``, the depth-wise convolution, has a ``conv2`` of its own where it is dynamic.
BLOCK_NAMES = {
    'attn2conv.conv0': 'mixer.conv1',
    'attn2conv.bn0': 'mixer.bn1',
    'attn2conv.conv': 'mixer.depthwise',
    'attn2conv.conv.conv1': 'mixer.depthwise.image_kernels.squeeze',
    'attn2conv.conv.bn': 'mixer.depthwise.image_kernels.bn',
    'attn2conv.conv.conv2': 'mixer.depthwise.image_kernels.expand',
    'attn2conv.conv.conv1.0': 'mixer.depthwise.pixel_kernels.squeeze',
    'attn2conv.conv.conv1.1': 'mixer.depthwise.pixel_kernels.bn',
    'attn2conv.conv.conv2.0': 'mixer.depthwise.pixel_kernels.expand',
    'attn2conv.bn': 'mixer.bn2',
    'attn2conv.conv2': 'mixer.conv2',
    'attn2conv.bn2': 'mixer.bn3',
    'bn': 'bn',
    'mlp.fc1': 'ffn.layers.0.0',
    'mlp.fc2': 'ffn.layers.1',
}
KINDS = 'weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked'


def convert_module(module: str) -> str | None:
    """Convert the name of a module of the backbone; None if it is not known."""
    if module in MODULE_NAMES or re.fullmatch(r'norm\d', module):
        return MODULE_NAMES.get(module, module)
    block = re.fullmatch(r'layers\.(\d+)\.blocks\.(\d+)\.(.+)', module)
    if block and block[3] in BLOCK_NAMES:
        return f'stages.{block[1]}.blocks.{block[2]}.{BLOCK_NAMES[block[3]]}'
    merging = re.fullmatch(r'layers\.(\d+)\.downsample\.(reduction|norm)', module)
    return f'stages.{int(merging[1]) + 1}.embed.{merging[2]}' if merging else None


def convert_state_dict(published: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Convert a published state dict.

    Args:
        published (Mapping[str, Tensor]): Its tensors: a classifier's, or those
            of a detector or segmentor, whose backbone's begin with
            ``backbone.``; with or without ``module.`` before all names.

    Returns:
        tuple[dict[str, Tensor], dict[str, str]]: The converted tensors, and
        the published names that were left out, with the reason: none.

    Raises:
        ValueError: If a name is not one of a DWNet.
    """
    published = strip_module(published)
    whole = any(name.startswith('backbone.') for name in published)
    converted, unknown = {}, []
    for name, tensor in published.items():
        module, _, kind = name.removeprefix('backbone.').rpartition('.')
        own = convert_module(module) if name.startswith('backbone.') == whole and kind in KINDS else None
        if own is not None:
            converted[f'backbone.{own}.{kind}'] = tensor
        elif whole and name.startswith(OTHER_PARTS):
            converted[name] = tensor
        elif not whole and name in ('head.weight', 'head.bias'):
            converted[f'head.fc.{kind}'] = tensor
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(f'{len(unknown)} of {len(published)} names are not those of a DWNet: {unknown[:5]}')
    return converted, {}
