"""Turn a published Vision Longformer classification file into one of mmpretrain's ImageClassifier.

The result holds ``{'state_dict', 'meta'}``, with the names ``backbone.*`` of
``vil_mm.ViL`` and ``head.fc.*`` of mmpretrain's ``LinearClsHead``.
"""

import argparse
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from vil_mm.engine.checkpoint import read_checkpoint

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
    if all(name.startswith('module.') for name in published):
        published = {name.removeprefix('module.'): tensor for name, tensor in published.items()}
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


def convert_file(source: str | Path, target: str | Path, allow: tuple[str, ...] = ()) -> None:
    """Convert a published file, and print what became of its tensors.

    Args:
        source (str | Path): The published file: a dict with the key ``net``.
        target (str | Path): The file to write.
        allow (tuple[str, ...]): See :func:`vil_mm.engine.checkpoint.read_checkpoint`.

    Raises:
        ValueError: If the file is not one of the family, or holds code.
    """
    checkpoint = read_checkpoint(source, allow=allow)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get('net'), Mapping):
        held = sorted(map(str, checkpoint))[:8] if isinstance(checkpoint, dict) else type(checkpoint).__name__
        raise ValueError(f"{source} is no published classification file: it must hold 'net', but holds {held}")
    converted, dropped = convert_state_dict(checkpoint['net'])
    meta = {key: checkpoint[key] for key in ('arch', 'epoch', 'best_acc') if key in checkpoint}
    meta['converted_from'] = Path(source).name
    torch.save({'state_dict': converted, 'meta': meta}, target)
    for name, reason in dropped.items():
        print(f'left out  {name}: {reason}')
    others = sorted(set(map(str, checkpoint)) - {'net', *meta})
    if others:
        print(f'left out  what is not of the model: {", ".join(others)}')
    print(f'{target}: {len(converted)} tensors from {len(checkpoint["net"])} published ones, {len(dropped)} left out')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', metavar='SRC', help='published file')
    parser.add_argument('target', metavar='DST', help='file to write')
    parser.add_argument(
        '--allow',
        nargs='+',
        default=(),
        metavar='TYPE',
        help='full names of types that the file may hold beside tensors and plain values',
    )
    args = parser.parse_args()
    try:
        convert_file(args.source, args.target, tuple(args.allow))
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f'error: {error}') from error


if __name__ == '__main__':
    main()
