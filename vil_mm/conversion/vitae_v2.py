"""Published files of ViTAEv2 and ViTAEv2*-VSA."""

from collections.abc import Mapping

from torch import Tensor

from .renaming import Converted, Rules, concatenate, convert_model

#: Keys under which timm keeps the averaged weights (EMA), whose accuracy is the published one, and the raw ones.
KEYS = {None: ['state_dict_ema', 'state_dict'], 'ema': ['state_dict_ema'], 'raw': ['state_dict']}

CELL_NAMES = {
    '(norm[12])': r'\1',
    'pos': 'position_encoding.proj',
    'attn.(qkv|proj|predict)': r'attn.\1',
    'attn.relative_position_bias_table': 'attn.relative_position_bias.table',
    'mlp.fc1': 'ffn.layers.0.0',
    'mlp.fc2': 'ffn.layers.1',
    'PCM.([0-6])': r'convs.\1',
}
REDUCTION_NAMES = {
    r'PRM.convs.(\d+).0': r'pyramid.convs.\1',
    # without varied-size windows, attention, norms and perceptron are one module
    'attn.(norm[12])': r'\1',
    'attn.attn.(qkv|proj)': r'attn.\1',
    'attn.mlp.fc1': 'ffn.layers.0.0',
    'attn.mlp.fc2': 'ffn.layers.1',
    **CELL_NAMES,
}
NAMES: Rules = {
    r'layers.(\d+).RC.': (r'stages.\1.embed.', REDUCTION_NAMES),
    r'layers.(\d+).NC.(\d+).': (r'stages.\1.blocks.\2.', CELL_NAMES),
}
LEFT_OUT = {r'[\w.]+.relative_position_index': 'derived: computed from the window'}


def as_linear(weight: Tensor) -> Tensor:
    """Turn the weight of a 1x1 convolution into that of a linear layer."""
    return weight[..., 0, 0] if weight.shape[2:] == (1, 1) else weight


CHANGES = {r'[\w.]+.attn.(qkv|proj|predict).weight': as_linear}


def convert_state_dict(published: Mapping[str, Tensor]) -> Converted:
    """Convert a published state dict.

    Args:
        published (Mapping[str, Tensor]): The tensors of a classifier, or of a
            detector or segmenter.

    Returns:
        Converted: The converted tensors, and what was left out.

    Raises:
        ValueError: If there are unknown names.
    """
    published = concatenate(published, ['sampling_offsets.2', 'sampling_scales.2'], 'predict')
    return convert_model(published, NAMES, 'a ViTAEv2', left_out=LEFT_OUT, changes=CHANGES)
