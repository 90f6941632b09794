"""Names of the published files of ViTAEv2 and ViTAEv2*-VSA, and ours for them."""

import re
from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor

from .files import OTHER_PARTS, strip_module

#: Under which timm keeps the moving average of the weights, whose accuracy is the published one, and the weights.
KEYS = {'ema': 'state_dict_ema', 'raw': 'state_dict'}

#: Within a cell: patterns of published names, and ours.
COMMON_NAMES = {
    r'norm([12])\.(weight|bias)': r'norm\1.\2',
    r'pos\.(weight|bias)': r'position_encoding.proj.\1',
    r'attn\.(qkv|proj|predict)\.(weight|bias)': r'attn.\1.\2',
    r'attn\.relative_position_bias_table': 'attn.relative_position_bias.table',
    r'mlp\.fc1\.(weight|bias)': r'ffn.layers.0.0.\1',
    r'mlp\.fc2\.(weight|bias)': r'ffn.layers.1.\1',
    r'PCM\.([0-6])\.(weight|bias|running_mean|running_var|num_batches_tracked)': r'convs.\1.\2',
}
REDUCTION_NAMES = {
    r'PRM\.convs\.(\d+)\.0\.(weight|bias)': r'pyramid.convs.\1.\2',
    # without varied-size windows, attention, norms and perceptron are one module
    r'attn\.norm([12])\.(weight|bias)': r'norm\1.\2',
    r'attn\.attn\.(qkv|proj)\.(weight|bias)': r'attn.\1.\2',
    r'attn\.mlp\.fc1\.(weight|bias)': r'ffn.layers.0.0.\1',
    r'attn\.mlp\.fc2\.(weight|bias)': r'ffn.layers.1.\1',
    **COMMON_NAMES,
}


def convert_cell(
    published: Mapping[str, Tensor], names: Mapping[str, str], dropped: dict[str, str], prefix: str = ''
) -> dict[str, Tensor]:
    """Convert the tensors of one cell.

    Args:
        published (Mapping[str, Tensor]): They, by name within the cell.
        names (Mapping[str, str]): Patterns of names, and ours.
        dropped (dict[str, str]): Gets the names left out, and why.
        prefix (str): What precedes the names in the file. Defaults to ''.

    Returns:
        dict[str, Tensor]: By our name within the cell.

    Raises:
        ValueError: If there is a name that is not known.
    """
    tensors = dict(published)
    for name in [name for name in tensors if name.endswith('relative_position_index')]:
        del tensors[name]
        dropped[prefix + name] = 'derived: computed from the window'
    for kind in ('weight', 'bias'):
        # two convolutions are one linear layer here
        parts = [f'attn.sampling_{what}.2.{kind}' for what in ('offsets', 'scales')]
        if tensors.keys() >= set(parts):
            tensors[f'attn.predict.{kind}'] = torch.cat([tensors.pop(part) for part in parts])
    converted = {}
    for name, tensor in tensors.items():
        new = next((re.sub(old, new, name) for old, new in names.items() if re.fullmatch(old, name)), None)
        if new is None:
            raise ValueError(f'{prefix + name!r} is not a name of a ViTAEv2')
        if tensor.ndim == 4 and new.startswith('attn.'):
            tensor = tensor[..., 0, 0]  # a 1x1 convolution
        converted[new] = tensor
    return converted


def convert_state_dict(published: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Convert a published state dict, of a classifier or of a detector.

    Args:
        published (Mapping[str, Tensor]): Its tensors, with or without
            ``module.`` before all names.

    Returns:
        tuple[dict[str, Tensor], dict[str, str]]: The converted tensors, and
        the published names that were left out, with the reason.

    Raises:
        ValueError: If a name is not one of a ViTAEv2.
    """
    published = strip_module(published)
    in_detector = any(name.startswith('backbone.') for name in published)
    own = 'backbone.' if in_detector else ''
    converted, dropped, unknown = {}, {}, []
    cells: dict[tuple[str, str], dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in published.items():
        match = re.fullmatch(rf'({own}layers\.(\d+)\.(?:RC|NC\.(\d+))\.)(.+)', name)
        if match:
            prefix, stage, block, rest = match.groups()
            target = f'backbone.stages.{stage}.' + ('reduction.' if block is None else f'blocks.{block}.')
            cells[prefix, target][rest] = tensor
        elif in_detector and name.startswith(OTHER_PARTS):
            converted[name] = tensor
        elif not in_detector and name in ('head.weight', 'head.bias'):
            converted[name.replace('head.', 'head.fc.')] = tensor
        else:
            unknown.append(name)
    if unknown or not cells:
        raise ValueError(f'{len(unknown)} of {len(published)} names are not those of a ViTAEv2: {unknown[:5]}')
    for (prefix, target), tensors in cells.items():
        names = REDUCTION_NAMES if target.endswith('reduction.') else COMMON_NAMES
        for name, tensor in convert_cell(tensors, names, dropped, prefix).items():
            converted[target + name] = tensor
    return converted, dropped
