"""Overrides of a config from the command line."""

import argparse
import copy
import re
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.utils import import_modules_from_strings

from ..arguments import check_arguments
from ..registry import find_class, nearest
from .checks.names import INNER_KEYS, read_keys
from .checks.schedule import find_mismatches

#: Keys on which the schedule depends.
SCHEDULED = {'train_cfg', 'param_scheduler', 'optim_wrapper'}


class OverrideAction(DictAction):
    """mmengine's ``DictAction``, with errors for what it would drop or misread."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add the words ``KEY=VALUE`` to those of earlier calls."""
        keys = list(getattr(namespace, self.dest) or {})
        for word in values or ():
            key, equals, _ = word.partition('=')
            if not equals or '' in key.split('.'):
                parser.error(f'{option_string} {word!r} must be KEY=VALUE, where KEY is names joined by single dots')
            for other in keys:
                if f'{key}.'.startswith(f'{other}.') or f'{other}.'.startswith(f'{key}.'):
                    parser.error(f'{option_string} sets {key!r} and {other!r}, of which one overrides the other')
            keys.append(key)
        super().__call__(parser, namespace, values, option_string)  # type: ignore[arg-type]


@check_arguments
def add_override_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--cfg-options``, whose value is what :func:`override` takes."""
    parser.add_argument('--cfg-options', nargs='+', action=OverrideAction, metavar='KEY=VALUE', help='config overrides')


@check_arguments
def override(cfg: Config, options: dict) -> None:
    """Override values of a config, or say why an override would have no effect.

    Args:
        cfg (Config): The config; changed in place.
        options (dict): Maps keys to values. A key consists of names and list
            indices, joined by dots.

    Raises:
        ValueError: If a key is unknown or only a variable of the config, if a
            value has the wrong type, such as ``no`` for a bool, or if the
            schedule no longer ends with the training. The message names the
            nearest known key, or the keys to set.
    """
    read = read_keys(options.get('runner_type', cfg.get('runner_type'))) - {'launcher'}
    if 'data_preprocessor' in (cfg.get('model') or {}):
        read.remove('data_preprocessor')  # mmengine takes the model's
    for key, value in options.items():
        name = key.split('.')[0]
        if name == 'launcher':
            raise ValueError('--cfg-options launcher has no effect: use --launcher')
        if name not in read:
            raise ValueError(f'--cfg-options {key} has no effect: {_explain(cfg, key, value, read)}')
        _check_path(cfg, key, value)
    before = copy.deepcopy({key: cfg.get(key) for key in ('default_scope', *SCHEDULED)})
    cfg.merge_from_dict(options)
    named = {key.split('.')[0] for key in options}
    if 'custom_imports' in named:
        import_modules_from_strings(**cfg.custom_imports)
    if named & SCHEDULED:
        _check_schedule(before, cfg, options)


def _check_schedule(before: dict, cfg: Config, options: dict) -> None:
    """Check that schedulers still fit the training if they did before, unless the overrides name all of their keys."""
    mismatched = {mismatch.where for mismatch in find_mismatches(before)}
    found = [
        mismatch
        for mismatch in find_mismatches(cfg)
        if mismatch.where not in mismatched and not mismatch.fix.keys() <= options.keys()
    ]
    if found:
        fixes = {key: value for mismatch in found for key, value in mismatch.fix.items()}
        now = {key: value for mismatch in found for key, value in mismatch.now.items() if key in fixes}
        set_ = {key: value for key, value in options.items() if key.split('.')[0] in SCHEDULED}
        raise ValueError(
            f'--cfg-options {_words(set_)}: {"; ".join(mismatch.what for mismatch in found)}. '
            f'Add {_words(fixes)} or, if this is intended, {_words(now)}'
        )


def _words(options: dict) -> str:
    """Word overrides as on the command line, with ``...`` for a value that the user must choose."""
    words = {key: '...' if value is None else str(value).replace(' ', '') for key, value in options.items()}
    return ' '.join(f'{key}={word}' for key, word in words.items())


def _explain(cfg: Config, key: str, value: Any, read: set[str]) -> str:
    """Say why a top-level key that nothing reads has no effect, and what to do."""
    name, _, rest = key.partition('.')
    if name in (cfg.get('model') or {}):
        return f'it is a setting of the model: set model.{key}'
    if name not in cfg:
        return f'there is no {name!r} in the config.{_suggest(name, read | set(cfg.keys()))}'
    copies = list(_copies(cfg[name], name, {k: v for k, v in cfg.items() if k in read}))
    if not copies:
        return f'{name!r} is only a variable of the config, which nothing reads'
    words = ' '.join(f'{copy}.{rest}={value}' if rest else f'{copy}={value}' for copy in copies)
    return f'{name!r} is only a variable of the config. Set where the config copied it: {words}'


def _copies(value: Any, name: str, node: Any, path: str = '') -> Iterator[str]:
    """List the keys, within a config, of copies of a variable.

    Numbers and other simple values are often equal by chance, so they count as
    copies only if their key is the variable's name.
    """
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, (list, tuple)) else ()
    for key, inner in items:
        full = f'{path}{key}'
        if inner == value and (key == name or isinstance(value, (str, dict, list, tuple))):
            yield full
        else:
            yield from _copies(value, name, inner, f'{full}.')


def _check_path(cfg: Config, key: str, value: Any) -> None:
    """Check that a key is a valid path in the config, and that nothing would silently drop or misread its value."""
    node: Any = cfg
    names = key.split('.')
    if names[:2] == ['model', 'data_preprocessor'] and 'data_preprocessor' in set(cfg) - set(cfg.get('model') or {}):
        raise ValueError(f'--cfg-options {key} would replace all of data_preprocessor: set {".".join(names[1:])}')
    for i, name in enumerate(names):
        path = '.'.join(names[:i])
        if name == '_delete_':
            return
        if isinstance(node, list):
            if not name.isdigit() or int(name) >= len(node):
                raise ValueError(f'--cfg-options {key}: {path} is a list, so {name!r} must be 0 to {len(node) - 1}')
            node = node[int(name)]
        elif node is None or isinstance(node, (dict, Config)):
            node = node or {}
            if path and name not in node:
                _check_new(cfg, node, path, name, key)
            node = node.get(name)
        else:
            raise ValueError(f'--cfg-options {key}: {path} is {node!r} and has no {name!r}: set {path} as a whole')
    if isinstance(node, dict) and 'type' in node and isinstance(value, str):
        raise ValueError(f'--cfg-options {key}={value} would replace a dict by a word: set {key}.type={value}')
    if isinstance(node, bool) and str(value).lower() in ('yes', 'no', 'on', 'off', 't', 'f', 'y', 'n'):
        raise ValueError(f'--cfg-options {key}={value} must be True or False')
    if isinstance(node, (int, float)) and isinstance(value, str) and re.match(r'[-+.]?\d', value):
        raise ValueError(f'--cfg-options {key}={value} must be a number')


def _check_new(cfg: Config, node: dict, path: str, name: str, key: str) -> None:
    """Check a new name in a dict. Building the object from the dict would catch most wrong names later, but not all."""
    known = INNER_KEYS.get(path, set()) | set(node)
    if name in known:
        return
    # another class or constructor may know more
    other = 'constructor' in (cfg.get('optim_wrapper') or {}) if path == 'optim_wrapper.paramwise_cfg' else False
    if path == 'default_hooks.checkpoint':
        other = find_class(node.get('type'), HOOKS) is not CheckpointHook
    near = 'type' not in node and nearest(name, known, 0.75)
    if near or (path in INNER_KEYS and not other):
        raise ValueError(f'--cfg-options {key} has no effect: {path} has no {name!r}.{_suggest(name, known)}')


def _suggest(name: str, known: set[str]) -> str:
    near = nearest(name, known)
    return f' Did you mean {near[0]!r}?' if near else ''
