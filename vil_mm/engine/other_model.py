"""How the model of a checkpoint differs from that of a run."""

import ast
from collections.abc import Iterator
from typing import Any

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ..models.layers import CheckpointError, compare
from .checkpoint import state_dict_of
from .fitting import check_finite


def check_model(runner: Runner, checkpoint: dict) -> None:
    """Check that a checkpoint is of the runner's model, because mmengine only warns of what does not fit.

    Args:
        runner (Runner): The runner.
        checkpoint (dict): The checkpoint.

    Raises:
        CheckpointError: If a tensor is missing, superfluous, of another shape
            or type, or not finite. The message names the first one, and the
            first setting of the config that differs.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    saved, own = state_dict_of(checkpoint, runner._load_from), model.state_dict()
    fit = compare(model, saved)
    other = sorted([*fit.missing, *fit.unexpected, *fit.resized, *fit.unfit])
    if not other:
        check_finite(saved, runner._load_from)
        return
    there, here = (
        f'of shape {tuple(state[other[0]].shape)}' if other[0] in state else 'missing' for state in (saved, own)
    )
    if there == here:
        there, here = (str(state[other[0]].dtype) for state in (saved, own))
    before, now = (read_model(cfg) for cfg in (checkpoint['meta'].get('cfg'), runner.cfg.pretty_text))
    settings = next((f' In its config, {setting}.' for setting in differences(before, now, 'model')), '')
    raise CheckpointError(
        f'{runner._load_from} cannot be resumed, because it is of another model, which differs in {other[0]} '
        f'(and {len(other) - 1} more): there it is {there}, here {here}.{settings} To start a new run from its '
        'weights, set load_from'
    )


def read_model(text: Any) -> Any:
    """Read the model's settings in the text of a config without running it; None if they cannot be read."""
    try:
        (value,) = (
            node.value
            for node in ast.parse(text).body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == 'model'
        )
        return read_value(value)
    except (SyntaxError, TypeError, ValueError):
        return None


def read_value(node: ast.AST) -> Any:
    """Read constants, lists, and dicts of the form ``dict(a=1)``.

    Raises:
        ValueError: If it is something else.
    """
    if isinstance(node, ast.Call) and ast.unparse(node.func) == 'dict':
        return {keyword.arg: read_value(keyword.value) for keyword in node.keywords}
    if isinstance(node, (ast.List, ast.Tuple)):
        return [read_value(item) for item in node.elts]
    return ast.literal_eval(node)


def differences(before: Any, now: Any, name: str) -> Iterator[str]:
    """Word where two readings of settings differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*now, *(key for key in before if key not in now)]:
            yield from differences(before.get(key), now.get(key), f'{name}.{key}')
    elif before != now and None not in (before, now):
        yield f'{name} is {before!r}, not {now!r}'
