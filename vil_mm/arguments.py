"""Checks of arguments by their annotations, so that errors name the argument, its value and what is allowed."""

import functools
import math
import types
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Integral, Real
from typing import Annotated, Any, NamedTuple, TypeVar, Union, get_args, get_origin

import torch

F = TypeVar('F', bound=Callable)
Matcher = Callable[[Any], type[Exception] | None]
#: How messages call types.
NOUNS: dict[Any, str] = {
    int: 'an integer',
    float: 'a number',
    bool: 'True or False',
    str: 'a string',
    Callable: 'a function',
    type(None): 'None',
}
#: What else passes for them; True and False do not.
KINDS: dict[Any, tuple] = {int: (int, torch.SymInt, Integral), float: (float, int, torch.SymFloat, torch.SymInt, Real)}


class Allowed(NamedTuple):
    """What an annotation allows beyond its type, as in ``Annotated[int, at_least(1)]``.

    Args:
        holds (Callable): Tells whether a value of the type is allowed.
        text (str): What is allowed, with ``{}`` in place of the type.
    """

    holds: Callable[[Any], bool]
    text: str


def at_least(low: float) -> Allowed:
    """Allow numbers from ``low`` on."""
    return Allowed(lambda value: value >= low, f'{{}} of at least {low}')


def between(low: float, high: float) -> Allowed:
    """Allow numbers from ``low`` to ``high``."""
    return Allowed(lambda value: low <= value <= high, f'{{}} from {low} to {high}')


def one_of(*choices: Any) -> Allowed:
    """Allow only these values."""
    return Allowed(lambda value: value in choices, ' or '.join(map(repr, choices)))


def dims(*names: str) -> Allowed:
    """Allow tensors of as many dimensions, called by these names in messages."""
    return Allowed(lambda value: value.ndim == len(names), f'{{}} of shape ({", ".join(names)})')


Count = Annotated[int, at_least(0)]
Size = Annotated[int, at_least(1)]
OddSize = Annotated[int, Allowed(lambda value: value >= 1 and value % 2 == 1, 'an odd number')]
Rate = Annotated[float, between(0, 1)]
#: Of stochastic depth, which divides by what is left.
DropPathRate = Annotated[float, Allowed(lambda value: 0 <= value < 1, '{} from 0 to less than 1')]
Finite = Annotated[float, Allowed(lambda value: -math.inf < value < math.inf, 'a finite number')]
NOT_EMPTY = Allowed(bool, '{} that is not empty')
Name = Annotated[str, NOT_EMPTY]
Positive = Annotated[float, Allowed(lambda value: 0 < value < math.inf, 'a positive, finite number')]


def check_arguments(function: F) -> F:
    """Check the arguments of a function by their annotations whenever it is called, except in graphs.

    Lists pass for tuples, and integers for numbers. An argument without an
    annotation is not checked.

    Args:
        function (Callable): The function, such as an ``__init__``.

    Returns:
        Callable: The function, which raises a TypeError if an argument has the
        wrong type, and a ValueError if it is out of its range.
    """
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    hints = {name: hint for name, hint in function.__annotations__.items() if name not in ('return', 'args', 'kwargs')}
    matchers = {name: matcher(hint) for name, hint in hints.items()}

    @functools.wraps(function)
    def checked(*args, **kwargs):
        if not (torch.compiler.is_compiling() or torch.jit.is_tracing()):
            for name, value in (*zip(names, args), *kwargs.items()):
                if name in matchers and matchers[name](value) is not None:
                    check(name, value, hints[name])
        return function(*args, **kwargs)

    return checked  # type: ignore[return-value]


def check(name: str, value: Any, hint: Any) -> None:
    """Check a value.

    Args:
        name (str): What the message calls it.
        value (Any): The value.
        hint (Any): The annotation.

    Raises:
        TypeError: If the value has the wrong type.
        ValueError: If it is out of its range. The message names it and what is
            allowed.
    """
    error = matcher(hint)(value)
    if error is not None:
        text = repr(value)
        raise error(f'{name}={text if len(text) < 200 else f"{text[:200]}..."} must be {describe(hint)}')


@functools.cache
def matcher(hint: Any) -> Matcher:
    """Make what tells how a value does not fit an annotation: None if it does, or the kind of error."""
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any or isinstance(hint, (str, TypeVar)):
        return lambda value: None
    if origin is Annotated:
        of_type, (rule, *_) = matcher(parts[0]), parts[1:]
        return lambda value: of_type(value) or (None if rule.holds(value) else ValueError)
    if origin in (Union, types.UnionType):
        return partial(_match_any, [matcher(part) for part in parts])
    kind = origin or hint
    if kind is Callable:
        return lambda value: None if callable(value) else TypeError
    if kind is not str and issubclass(kind, Sequence):
        fixed = origin is tuple and parts[-1] is not ...
        return partial(_match_sequence, [matcher(part) for part in parts if part is not ...], fixed)
    kinds, no_bool = KINDS.get(kind, kind), kind in KINDS
    return lambda value: None if isinstance(value, kinds) and not (no_bool and isinstance(value, bool)) else TypeError


def _match_any(matchers: list[Matcher], value: Any) -> type[Exception] | None:
    worst: type[Exception] = TypeError
    for match in matchers:
        error = match(value)
        if error is None:
            return None
        worst = ValueError if error is ValueError else worst
    return worst


def _match_sequence(matchers: list[Matcher], fixed: bool, value: Any) -> type[Exception] | None:
    if not isinstance(value, (tuple, list, Sequence)) or isinstance(value, str):
        return TypeError
    if fixed and len(value) != len(matchers):
        return ValueError
    for match, one in zip(matchers if fixed else matchers * len(value), value):
        error = match(one)
        if error is not None:
            return error
    return None


def describe(hint: Any) -> str:
    """Say what an annotation allows."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return parts[1].text.format(describe(parts[0]))
    if origin in (Union, types.UnionType):
        *others, last = map(describe, parts)
        return f'{", ".join(others)} or {last}'
    kind = origin or hint
    if kind in NOUNS:
        return NOUNS[kind]
    if isinstance(kind, type) and issubclass(kind, Sequence):
        count = f' of {len(parts)}' if origin is tuple and parts[-1] is not ... else ''
        entries = ', '.join(dict.fromkeys(describe(part) for part in parts if part is not ...))
        return f'a sequence{count}{f" (each {entries})" if entries else ""}'
    return f'a {getattr(kind, "__name__", kind)}'
