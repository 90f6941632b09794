"""Fixed settings of the kernels. Nothing is tuned at run time, so that results are the same in every run."""

from typing import Any

import torch

from ..places import TILE

#: Global tokens of a tile.
GLOBALS = 16
#: Scores of these types are exponents of 2, for which GPUs have an instruction.
LOG2_E = 1.4426950408889634
#: Columns of a tile, warps and stages of each kernel: by its name, the bytes of a number and the width of tiles.
SETTINGS = {
    ('forward_kernel', 2): {16: (64, 4, 1), 32: (64, 4, 1), 64: (64, 4, 1), 128: (64, 8, 1)},
    ('forward_kernel', 4): {16: (32, 4, 2), 32: (32, 4, 2), 64: (32, 4, 2), 128: (32, 8, 2)},
    ('backward_queries_kernel', 2): {16: (64, 4, 1), 32: (64, 4, 1), 64: (64, 4, 1), 128: (32, 8, 1)},
    ('backward_queries_kernel', 4): {16: (32, 4, 2), 32: (32, 4, 2), 64: (32, 8, 1), 128: (16, 8, 1)},
    ('backward_keys_kernel', 2): {16: (64, 4, 1), 32: (64, 4, 1), 64: (32, 4, 1), 128: (32, 8, 1)},
    ('backward_keys_kernel', 4): {16: (16, 4, 2), 32: (16, 4, 2), 64: (16, 8, 1), 128: (16, 8, 1)},
    ('backward_globals_kernel', 2): {16: (64, 4, 2), 32: (64, 4, 2), 64: (64, 4, 2), 128: (64, 4, 2)},
    ('backward_globals_kernel', 4): {16: (32, 4, 2), 32: (32, 4, 2), 64: (32, 4, 2), 128: (32, 4, 1)},
    ('backward_table_kernel', 2): {16: (64, 4, 2), 32: (64, 4, 2), 64: (64, 4, 2), 128: (32, 8, 2)},
    ('backward_table_kernel', 4): {16: (64, 4, 1), 32: (64, 4, 1), 64: (32, 8, 1), 128: (32, 8, 1)},
}


def padded_width(head_width: int) -> int:
    """Round up to a width that products of tiles have."""
    return max(16, 1 << (head_width - 1).bit_length())


def options(kernel, dtype: torch.dtype, head_width: int, precision: str) -> dict[str, Any]:
    """List the constants and compiler options with which a kernel is launched."""
    width = padded_width(head_width)
    columns, warps, stages = SETTINGS[kernel.__name__, dtype.itemsize][width]
    exact = dtype == torch.float32 and precision == 'ieee'
    constants: dict[str, Any] = dict(HEAD_WIDTH=head_width, WIDTH=width, ROWS=TILE, COLUMNS=columns, GLOBALS=GLOBALS)
    constants |= dict(UNIT=1.0 if exact else LOG2_E, PRECISION=precision)
    if kernel.__name__ == 'backward_globals_kernel':
        constants['ROWS'] = GLOBALS
    constants = {name: value for name, value in constants.items() if name in kernel.arg_names}
    return constants | dict(num_warps=warps, num_stages=stages)
