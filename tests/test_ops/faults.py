"""Backends with a fault each, which the self-check must reject; sound otherwise, and fast."""

import ctypes
import inspect
import itertools
import os
import time

import torch

from vil_mm.ops._library import sliding_window_attention_compiled as sound
from vil_mm.ops.reference import sliding_window_attention_reference
from vil_mm.ops.self_check.problems import large

NAMES = list(inspect.signature(sliding_window_attention_reference).parameters)
calls = itertools.count()


def change(args, **changes):
    """Call the sound backend with some arguments changed by functions."""
    arguments = dict(zip(NAMES, args))
    return sound(**arguments | {name: f(arguments[name]) for name, f in changes.items() if arguments[name] is not None})


def wrong_scale(*args):
    return change(args, scale=lambda x: 1.05 * x)


def wrong_bias_row(*args):
    return change(args, bias_table=lambda x: x.roll(1, 0))


def forgotten_global_bias(*args):
    return change(args, global_bias=lambda x: 0 * x)


def off_by_one_mask(q, k, v, hw_shape, window_size, num_global_tokens, *rest):
    """Hides the last column of the grid, by keys that get no weight."""
    grid = k[:, :, num_global_tokens:].unflatten(2, hw_shape)
    hidden = torch.zeros(hw_shape, dtype=torch.bool)
    hidden[:, -1] = hw_shape[1] > 1
    grid = grid.masked_fill(hidden[..., None], -100)
    k = torch.cat([k[:, :, :num_global_tokens], grid.flatten(2, 3)], dim=2)
    return sound(q, k, v, hw_shape, window_size, num_global_tokens, *rest)


def wrong_gradient(q, k, *rest):
    output = sound(q, k, *rest)
    if k.requires_grad:
        output.register_hook(lambda grad: 1.05 * grad)
    return output


class NaN(torch.autograd.Function):
    """One NaN in the gradient."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return torch.where(torch.arange(grad.numel()).view(grad.shape) == 5, float('nan'), grad)


def nan(q, *rest):
    return sound(NaN.apply(q), *rest)


class Write(torch.autograd.Function):
    """Zero beyond the end of the memory that the output was given."""

    @staticmethod
    def forward(ctx, x):
        output = torch.empty_like(x)
        output.copy_(x)
        ctypes.memset(output.data_ptr() + output.numel() * output.element_size(), 0, output.element_size())
        return output

    @staticmethod
    def backward(ctx, grad):
        return grad


def write_past_the_end(*args):
    return Write.apply(sound(*args).contiguous())


def read_past_the_end(q, k, *rest):
    """As much as nothing of the number after the last key."""
    last = k.storage_offset() + sum((size - 1) * stride for size, stride in zip(k.shape, k.stride()))
    beyond = k.detach().as_strided((1,), (1,), last + 1) if last + 1 < k.untyped_storage().nbytes() // 4 else 0
    return sound(q, k, *rest) + 0 * beyond


def varying(*args):
    output = sound(*args)
    if next(calls) % 3 == 2:  # by the last bit of one number
        output = torch.cat([torch.nextafter(output[:1], 2 * output[:1]), output[1:]])
    return output


def abort(*args):
    os.abort()


def segmentation_fault(*args):
    ctypes.string_at(0)


def hang(*args):
    while True:
        time.sleep(1)


def killed(*args):
    os.kill(os.getpid(), 9)


def exception_while_compiling(*args):
    raise RuntimeError('no such instruction')


def out_of_memory(*args):
    raise torch.OutOfMemoryError('2 GiB')


def slower_than_pytorch(*args):
    """On the problem whose time is taken."""
    if args[3] == large(torch.device('cpu'), 32)[0].hw_shape:
        sliding_window_attention_reference(*args)
        sliding_window_attention_reference(*args)
    return sound(*args)
