"""Fixed settings of the kernels. Nothing is tuned at run time, so that results are the same in every run."""

import functools
from typing import Any

import torch
from triton.runtime import driver

from ..places import TILE
from . import is_interpreted

#: Global tokens of a tile.
GLOBALS = 16
#: Scores of these types are exponents of 2, for which GPUs have an instruction.
LOG2_E = 1.4426950408889634
#: Columns of a tile, warps and stages of each kernel: by its name, the precision of products (``'half'`` is float16 and
#: bfloat16) and the width of tiles. Those of 16-bit numbers were among the fastest on an H200 and spill no registers;
#: the kernel of global tokens was not timed.
SETTINGS = {
    ('forward_kernel', 'half'): {16: (32, 4, 1), 32: (64, 4, 1), 64: (64, 4, 1), 128: (32, 4, 1)},
    ('forward_kernel', 'tf32'): {16: (64, 4, 1), 32: (64, 4, 1), 64: (32, 4, 1), 128: (32, 8, 1)},
    ('forward_kernel', 'ieee'): {16: (64, 4, 1), 32: (64, 4, 1), 64: (32, 4, 2), 128: (32, 8, 2)},
    ('backward_queries_kernel', 'half'): {16: (32, 4, 1), 32: (64, 4, 1), 64: (32, 4, 1), 128: (32, 4, 3)},
    ('backward_queries_kernel', 'tf32'): {16: (64, 4, 1), 32: (64, 4, 1), 64: (32, 4, 1), 128: (16, 8, 1)},
    ('backward_queries_kernel', 'ieee'): {16: (64, 4, 1), 32: (64, 4, 1), 64: (32, 8, 1), 128: (16, 8, 1)},
    ('backward_keys_kernel', 'half'): {16: (32, 4, 1), 32: (64, 4, 1), 64: (32, 4, 1), 128: (16, 4, 3)},
    ('backward_keys_kernel', 'tf32'): {16: (32, 4, 1), 32: (32, 4, 1), 64: (32, 4, 1), 128: (16, 8, 1)},
    ('backward_keys_kernel', 'ieee'): {16: (64, 4, 1), 32: (64, 4, 1), 64: (16, 8, 1), 128: (16, 8, 1)},
    ('backward_globals_kernel', 'half'): {16: (64, 4, 2), 32: (64, 4, 2), 64: (64, 4, 2), 128: (64, 4, 2)},
    ('backward_globals_kernel', 'tf32'): {16: (32, 4, 2), 32: (32, 4, 2), 64: (32, 4, 2), 128: (32, 4, 1)},
    ('backward_globals_kernel', 'ieee'): {16: (32, 4, 2), 32: (32, 4, 2), 64: (32, 4, 2), 128: (32, 4, 1)},
    ('backward_table_kernel', 'half'): {16: (64, 4, 3), 32: (64, 4, 2), 64: (64, 4, 2), 128: (64, 8, 2)},
    ('backward_table_kernel', 'tf32'): {16: (64, 4, 2), 32: (64, 4, 2), 64: (64, 4, 1), 128: (32, 8, 1)},
    ('backward_table_kernel', 'ieee'): {16: (64, 4, 1), 32: (64, 4, 1), 64: (32, 8, 1), 128: (32, 8, 1)},
}


#: The same for older GPUs of NVIDIA, where these would spill.
BEFORE_HOPPER = {('backward_queries_kernel', 'half'): {32: (32, 4, 1)}}


def is_before_hopper() -> bool:
    """Tell whether kernels are compiled for such a GPU."""
    if is_interpreted():
        return False
    target = driver.active.get_current_target()
    return target.backend == 'cuda' and target.arch < 90


def padded_width(head_width: int) -> int:
    """Round up to a width that products of tiles have."""
    return max(16, 1 << (head_width - 1).bit_length())


@functools.cache
def options(kernel, dtype: torch.dtype, head_width: int, precision: str, before_hopper: bool) -> dict[str, Any]:
    """List the constants and compiler options with which a kernel is launched."""
    width = padded_width(head_width)
    products = precision if dtype == torch.float32 else 'half'
    key = kernel.__name__, products
    columns, warps, stages = (SETTINGS[key] | (BEFORE_HOPPER.get(key, {}) if before_hopper else {}))[width]
    constants: dict[str, Any] = dict(HEAD_WIDTH=head_width, WIDTH=width, ROWS=TILE, COLUMNS=columns, GLOBALS=GLOBALS)
    constants |= dict(UNIT=1.0 if products == 'ieee' else LOG2_E, PRECISION=precision)
    if kernel.__name__ == 'backward_globals_kernel':
        constants['ROWS'] = GLOBALS
    constants = {name: value for name, value in constants.items() if name in kernel.arg_names}
    return constants | dict(num_warps=warps, num_stages=stages)
