"""Published files of DWNet and Dynamic-DWNet."""

from collections.abc import Mapping

from torch import Tensor

from .renaming import Converted, Rules, convert_model

#: Keys that may hold the tensors: in the file of a classifier, and in that of a detector or segmenter.
KEYS = 'model', 'state_dict'

#: Within a block. ``attn2conv.conv``, the depthwise convolution, has a ``conv2`` of its own if it is dynamic.
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
NAMES: Rules = {
    'patch_embed.proj': 'stages.0.embed.projection',
    'patch_embed.norm': 'stages.0.embed.norm',
    r'layers.(\d+).blocks.(\d+).': (r'stages.\1.blocks.\2.', BLOCK_NAMES),
    # published at the end of a stage, here at the beginning of the next
    r'layers.(\d+).downsample.(reduction|norm)': lambda match: f'stages.{int(match[1]) + 1}.embed.{match[2]}',
    r'(norm\d?)': r'\1',
}


def convert_state_dict(published: Mapping[str, Tensor]) -> Converted:
    """Convert a published state dict.

    Args:
        published (Mapping[str, Tensor]): The tensors of a classifier, or of a
            detector or segmenter.

    Returns:
        Converted: The converted tensors. Nothing is left out.

    Raises:
        ValueError: If there are unknown names.
    """
    return convert_model(published, NAMES, 'a DWNet')
