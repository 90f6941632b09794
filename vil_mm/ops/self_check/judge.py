"""What a backend must do to pass: be right, stay within its memory, repeat itself, and be fast."""

import functools
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from ..reference import sliding_window_attention_reference
from .fences import Fences
from .problems import SMALL, Problem, large

#: How many times the error of plain PyTorch is allowed; on average, and where a result has few numbers.
LIMIT, LIMIT_OF_FEW = 2, 32
REPEATS = 20
FASTER = 1.1


class RejectedError(Exception):
    """Why a backend does not pass."""


def run(attend: Callable, tensors: dict[str, Tensor], problem: Problem) -> dict[str, Tensor]:
    """Compute the output and the gradients of all inputs, by name."""
    inputs = {name: x.detach().requires_grad_() for name, x in tensors.items() if name != 'grad_out'}
    output = attend_to(attend, inputs, problem)
    gradients = torch.autograd.grad(output, list(inputs.values()), tensors['grad_out'])
    return dict(zip(('output', *inputs), (output.detach(), *gradients)))


def attend_to(attend: Callable, inputs: dict[str, Tensor], problem: Problem) -> Tensor:
    """Compute the output."""
    q, k, v, bias_table, global_bias = map(inputs.get, ('q', 'k', 'v', 'bias_table', 'global_bias'))
    sizes = (problem.hw_shape, problem.window_size, problem.num_global_tokens)
    scale = q.shape[-1] ** -0.5
    return attend(q, k, v, *sizes, bias_table, global_bias, problem.mask, problem.neighbors, scale)


def examine(
    candidate: Callable,
    floor: Callable,
    refuse: Callable | None,
    device: torch.device,
    precision: str,
    width: int,
    begin: Callable[[str], None],
) -> dict[str, list[float]]:
    """Examine a backend.

    Args:
        candidate (Callable): Its ``run``, see
            :class:`vil_mm.ops.backends.Backend`.
        floor (Callable): That of the backend that it replaces.
        refuse (Callable, optional): Its ``refuse``.
        device (torch.device): Where.
        precision (str): One of ``problems.PRECISIONS``.
        width (int): One of ``problems.WIDTHS``.
        begin (Callable): Is told what comes next.

    Returns:
        dict[str, list[float]]: By what was run (``'forward'``, ``'forward
        and backward'``): seconds of the candidate and of the floor.

    Raises:
        RejectedError: If it does not pass.
    """
    torch.get_device_module(device).set_device(device)
    torch.set_float32_matmul_precision('high' if precision == 'tf32' else 'highest')
    dtype = torch.float32 if precision == 'tf32' else getattr(torch, precision)
    attend = functools.partial(call, candidate)
    ratios: dict[str, list[float]] = {}
    for problem in SMALL:
        tensors = problem.make(dtype, width, device)
        if refuse and refuse(tensors['q'], problem.mask):
            continue
        expected, plain = expect(tensors, problem)
        begin(str(problem))
        fences = Fences(device)
        offset = int(problem.layout == 'misaligned')
        fenced = {name: fences.enclose(x, offset) for name, x in tensors.items()}
        with fences:
            results = run(attend, fenced, problem)
        if not fences.are_whole():
            raise RejectedError('it wrote outside of its tensors')
        for name, ratio in compare(results, expected, plain).items():
            ratios.setdefault(name, []).append(ratio)
    for name, values in ratios.items():
        mean = math.exp(sum(map(math.log, values)) / len(values))
        if mean > LIMIT:
            raise RejectedError(f'{name}: on average, its error is {mean:.3g} times that of plain PyTorch')

    problem, copies = large(device, width)
    one = problem.make(dtype, width, device)
    expected, plain = expect(one, problem)
    many = {name: x if 'bias' in name else x.repeat(copies, 1, 1, 1) for name, x in one.items()}
    begin(f'{copies} times {problem}')
    results = run(attend, many, problem)
    # all images are the same, so gradients of biases are multiples of those of one
    compare({name: x / copies if 'bias' in name else x for name, x in results.items()}, expected, plain)
    begin(f'repeats of {copies} times {problem}')
    repeat(lambda: run(attend, many, problem), results, device)
    begin(f'the speed on {copies} times {problem}')
    return measure(attend, floor, many, problem, device)


def call(candidate: Callable, *args) -> Tensor:
    """Call the candidate; what it raises is a reason to reject it."""
    try:
        return candidate(*args)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise RejectedError(f'it raised {type(error).__name__}: {error}') from error


def expect(tensors: dict[str, Tensor], problem: Problem) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Compute the results of plain PyTorch, in float64 on the CPU and in the tensors' own precision."""
    exact = {name: x.cpu().double() for name, x in tensors.items()}
    reference = sliding_window_attention_reference
    return run(reference, exact, problem), run(reference, tensors, problem)


def compare(results: dict[str, Tensor], expected: dict[str, Tensor], plain: dict[str, Tensor]) -> dict[str, float]:
    """Divide errors by those of plain PyTorch, by name; both are at least half the last bit.

    Raises:
        RejectedError: If a result is not finite, or its error is too large.
    """
    ratios = {}
    for name, truth in expected.items():
        if not results[name].isfinite().all():
            raise RejectedError(f'{name} is not finite')
        smallest = torch.finfo(results[name].dtype).eps / 2
        ours, theirs = (max(relative_error(x[name], truth), smallest) for x in (results, plain))
        ratios[name] = ours / theirs
        if ratios[name] > (LIMIT_OF_FEW if 'bias' in name else LIMIT):
            raise RejectedError(f'{name}: its relative error is {ours:.3g}, that of plain PyTorch {theirs:.3g}')
    return ratios


def relative_error(result: Tensor, truth: Tensor) -> float:
    """Norm of the error, relative to that of the truth; of copies of one image, the largest."""
    difference, copies = result.cpu().double() - truth, int(len(truth) == 1)
    norms = [x.flatten(copies).norm(dim=-1) for x in (difference, truth)]
    return (norms[0] / norms[1]).max().item()


def repeat(again: Callable, first: dict[str, Tensor], device: torch.device) -> None:
    """Compare repeats bit by bit, half of them beside other work on a second stream.

    Raises:
        RejectedError: If one differs.
    """
    module = torch.get_device_module(device)
    side = module.Stream()
    other = torch.randn(2, *[64 if device.type == 'cpu' else 2048] * 2, device=device)
    for i in range(REPEATS):
        if i % 2:
            with module.stream(side):
                for _ in range(8):
                    torch.mm(other[0], other[0], out=other[1])
        for name, result in again().items():
            if not torch.equal(result, first[name]):
                raise RejectedError(f'{name} differs between two runs')


def measure(
    attend: Callable, floor: Callable, tensors: dict[str, Tensor], problem: Problem, device: torch.device
) -> dict[str, list[float]]:
    """Take the best times of several runs in turn.

    Raises:
        RejectedError: If the candidate is not fast enough.
    """
    runs: dict[str, Callable[[Callable], object]] = {
        'forward': torch.no_grad()(lambda f: attend_to(f, tensors, problem)),
        'forward and backward': lambda f: run(f, tensors, problem),
    }
    seconds = {}
    for name, work in runs.items():
        best = [math.inf, math.inf]
        for _ in range(4):
            for i, f in enumerate((attend, floor)):
                torch.get_device_module(device).synchronize()
                start = time.perf_counter()
                work(f)
                torch.get_device_module(device).synchronize()
                best[i] = min(best[i], time.perf_counter() - start)
        seconds[name] = best
        if best[0] * FASTER > best[1]:
            raise RejectedError(f'{name}: it takes {best[0]:.2e} s, what it replaces {best[1]:.2e} s')
    return seconds
