"""Renaming the tensors of published files by tables of rules."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

#: Published names and ours for them, see :func:`rename`.
Rules: TypeAlias = Mapping[str, 'Replacement | tuple[Replacement, Rules]']
Replacement: TypeAlias = str | Callable[[re.Match], str]

#: Converted tensors by name, and the published names that were left out, with the reason.
Converted: TypeAlias = tuple[dict[str, Tensor], dict[str, str]]

T = TypeVar('T')

#: The last part of the names of a module's tensors.
KIND = r'(?P<kind>(\.(weight|bias|running_mean|running_var|num_batches_tracked))?)'
BACKBONE = 'backbone.'
#: Parts of detectors and segmenters that have the same names in OpenMMLab 1.x and 2.x.
OTHER_PARTS = 'neck|rpn_head|roi_head|bbox_head|decode_head|auxiliary_head'


def rename(name: str, rules: Rules) -> str | None:
    """Rename a tensor by the first rule that matches.

    Args:
        name (str): The published name.
        rules (Rules): Each key is a regular expression, except that dots are
            literal. It must match the whole name of a tensor or of a module. If
            it matches a module, the last part of its tensors' names is kept:
            ``.weight``, ``.bias``, ``.running_mean``, ``.running_var`` or
            ``.num_batches_tracked``. Each value is a replacement as in
            ``re.sub``: a string, or a function of the match. A value may also
            be a pair of a replacement and more rules: then the key matches the
            beginning of the name, and one of those rules must match and rename
            the rest.

    Returns:
        str | None: Our name, or None if no rule matches.
    """
    for pattern, own in rules.items():
        pattern = pattern.replace('.', r'\.')
        if isinstance(own, tuple):
            match = re.match(pattern, name)
            rest = rename(name[match.end() :], own[1]) if match else None
            if rest is not None:
                return _replace(match, own[0]) + rest
        elif match := re.fullmatch(f'(?:{pattern}){KIND}', name):
            return _replace(match, own) + match['kind']
    return None


def _replace(match: re.Match, own: Replacement) -> str:
    return match.expand(own) if isinstance(own, str) else own(match)


def rename_all(
    published: Mapping[str, Tensor],
    rules: Rules,
    family: str,
    left_out: Mapping[str, str] | None = None,
    changes: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
) -> Converted:
    """Rename tensors, and leave out or change some.

    Args:
        published (Mapping[str, Tensor]): The published tensors.
        rules (Rules): See :func:`rename`.
        family (str): What the rules are for, with its article, for the error.
        left_out (Mapping[str, str], optional): Patterns of published names that
            are left out, and the reasons. Defaults to None: none.
        changes (Mapping[str, Callable], optional): Patterns of our names, and
            what changes their tensors. Defaults to None: none.

    Returns:
        Converted: The converted tensors, and what was left out.

    Raises:
        ValueError: If there are unknown names, two that become one, or nothing
            to convert.
    """
    converted, dropped, unknown = {}, {}, []
    for name, tensor in published.items():
        if reason := _find(name, left_out or {}):
            dropped[name] = reason
        elif own := rename(name, rules):
            if own in converted:
                raise ValueError(f'{name!r} becomes {own!r}, as another of the {len(published)} names does')
            change = _find(own, changes or {})
            converted[own] = change(tensor) if change else tensor
        else:
            unknown.append(name)
    if unknown or not converted:
        raise ValueError(f'{len(unknown)} of {len(published)} names are not those of {family}: {unknown[:5]}')
    return converted, dropped


def _find(name: str, table: Mapping[str, T]) -> T | None:
    return next((value for pattern, value in table.items() if re.fullmatch(pattern.replace('.', r'\.'), name)), None)


def convert_model(published: Mapping[str, Tensor], rules: Rules, family: str, **kwargs) -> Converted:
    """Rename the tensors of a whole model: a published classifier, or any model of OpenMMLab.

    In a model of OpenMMLab, the names of the backbone begin with ``backbone.``,
    and the other parts keep theirs. ``module.`` before all names is removed.

    Args:
        published (Mapping[str, Tensor]): The published tensors.
        rules (Rules): Names within the backbone, see :func:`rename`.
        family (str): See :func:`rename_all`.
        **kwargs: More arguments of :func:`rename_all`.

    Returns:
        Converted: Tensors named ``backbone.*``, and ``head.fc.*`` in a
        classifier; and what was left out.

    Raises:
        ValueError: If there are unknown names, or nothing to convert.
    """
    published = strip_module(published)
    if any(name.startswith(BACKBONE) for name in published):
        rules = {BACKBONE: (BACKBONE, rules), 'head.fc': 'head.fc', rf'(({OTHER_PARTS}).[\w.]+)': r'\1'}
    else:
        rules = {'': (BACKBONE, rules), 'head': 'head.fc'}
    return rename_all(published, rules, family, **kwargs)


def strip_module(published: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Remove ``module.`` if it is before all names, as parallel training writes it."""
    if all(name.startswith('module.') for name in published):
        return {name.removeprefix('module.'): tensor for name, tensor in published.items()}
    return published


def concatenate(published: Mapping[str, Tensor], parts: Sequence[str], whole: str) -> dict[str, Tensor]:
    """Concatenate the tensors of modules that are one module here.

    Args:
        published (Mapping[str, Tensor]): The published tensors.
        parts (Sequence[str]): Names of the modules, in order. They must have
            the same parent.
        whole (str): Name of their concatenation.

    Returns:
        dict[str, Tensor]: The tensors. Where a part is missing, the others stay
        as they are.
    """
    tensors = dict(published)
    for name in published:
        names = [name.replace(f'.{parts[0]}.', f'.{part}.') for part in parts]
        if len(set(names)) == len(parts) and tensors.keys() >= set(names):
            tensors[name.replace(f'.{parts[0]}.', f'.{whole}.')] = torch.cat([tensors.pop(part) for part in names])
    return tensors
