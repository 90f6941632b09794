"""Compile the kernels of the sliding window for GPUs that are not there."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import torch
from gpu_code import Code, amd_code, nvidia_code
from problem import Shape, make_inputs
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from vil_mm.ops._library import encode_neighbors

#: By the names of their architectures.
TARGETS = {f'sm_{arch}': GPUTarget('cuda', arch, 32) for arch in (80, 90, 100, 120)} | {
    'gfx942': GPUTarget('hip', 'gfx942', 64)
}
#: How the files of CUDA code name data types.
CUDA_NAMES = dict(float32='float', tf32='float', float16='half', bfloat16='bfloat16')
DTYPES = tuple(CUDA_NAMES)
WIDTHS, CUDA_WIDTHS = (16, 32, 64, 128), (32, 48, 64, 96, 128)
SOURCES = Path(__file__).parents[2] / 'csrc/cuda'


@dataclass(frozen=True)
class Kernel:
    """A kernel for one architecture, data type and head width.

    Attributes:
        language (str): ``'Triton'`` or ``'CUDA'``.
        name (str): Without ``_kernel``.
        target (str): A key of :data:`TARGETS`.
        dtype (str): One of :data:`DTYPES`.
        width (int): Of heads, padded.
        rows (int): Of the tile of scores that a block computes at a time.
        columns (int): Of that tile.
        warps (int): Of a block.
        shared (int): Bytes of a block.
        code (Code): What was compiled.
    """

    language: str
    name: str
    target: str
    dtype: str
    width: int
    rows: int
    columns: int
    warps: int
    shared: int
    code: Code

    @property
    def instructions(self) -> int | None:
        """Instructions of a warp for a 64x64 tile that four warps share; None if no loop multiplies matrices."""
        way = self.code.loop()
        return round(len(way) * 64 * 64 / (self.rows * self.columns) * self.warps / 4) if way else None

    @property
    def products(self) -> float | None:
        """How many products of matrices of a tile the loop does; None if its instructions do not tell."""
        macs = [x.macs for x in self.code.loop() if x.multiplies]
        tile = self.rows * self.columns * self.width
        return sum(macs) * self.warps / tile if macs and None not in macs else None


class _Driver:
    """As much of Triton's driver as compiling needs."""

    def __init__(self, target: GPUTarget) -> None:
        self.target = target

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> str:
        return str(self.target)  # kernels are cached under it

    def get_current_stream(self, device: str) -> int:
        return 0


@contextmanager
def compiling_only(target: GPUTarget) -> Iterator[list[tuple]]:
    """Have launches only compile for a target; gives a list of (compiled kernel, arguments by name)."""
    run, launches = JITFunction.run, []

    def compile_only(function, *args, grid, warmup, **kwargs):
        launches.append((run(function, *args, grid=grid, warmup=True, **kwargs), kwargs))

    with patch.object(driver, '_active', _Driver(target)), patch.object(JITFunction, 'run', compile_only):
        yield launches


def triton_kernels(target: str, dtype: str, width: int) -> list[Kernel]:
    """Compile what a forward and a backward launch."""
    shape = Shape(2, 3, width, 14, 14)
    inputs, grad = make_inputs(shape, getattr(torch, dtype.replace('tf32', 'float32')), 'cpu')
    q, k, v, *biases = (x.detach() for x in inputs)
    settings = (*shape.grid, shape.window_size, shape.num_global_tokens, 'block', encode_neighbors('all'), width**-0.5)
    with (
        compiling_only(TARGETS[target]) as launches,
        patch('vil_mm.ops.triton_kernels.launch.allows_tf32', lambda q: dtype == 'tf32'),
        tempfile.TemporaryDirectory() as folder,
    ):
        out, lse = torch.ops.vil_mm.sliding_window_attention_triton_forward(q, k, v, *biases, *settings)
        torch.ops.vil_mm.sliding_window_attention_triton_backward(grad, q, k, v, out, lse, *biases, *settings)
        kernels = []
        for compiled, arguments in launches:
            if TARGETS[target].backend == 'hip':
                code = amd_code(compiled.asm['amdgcn'])
            else:
                binary = Path(folder, 'kernel.cubin')
                binary.write_bytes(compiled.asm['cubin'])
                (code,) = nvidia_code(binary).values()
            kernels.append(
                Kernel(
                    language='Triton',
                    name=compiled.name.removesuffix('_kernel'),
                    target=target,
                    dtype=dtype,
                    width=width,
                    rows=arguments['ROWS'],
                    columns=arguments['COLUMNS'],
                    warps=compiled.metadata.num_warps,
                    shared=compiled.metadata.shared,
                    code=code,
                )
            )
    return kernels


_MANGLED = re.compile(
    r'\d([a-z_]+)_kernelI(?P<type>f|6__half|13__nv_bfloat16)Li(?P<width>\d+)\S*ArithmeticE(?P<tensor>\d)'
)
_TYPES = {'f': 'float', '6__half': '__half', '13__nv_bfloat16': '__nv_bfloat16'}
_LAYOUTS = {
    'forward': 'ForwardLayout',
    'backward_queries': 'BackwardLayout',
    'backward_keys': 'BackwardLayout',
    'backward_globals': 'BackwardLayout',
    'backward_table': 'TableLayout',
}
#: Of window 7, as everywhere in the models.
_LAYOUT_PROGRAM = """
#include <cstdio>
#include "forward.cuh"
#include "backward_table.cuh"
using namespace vil_mm::cuda;
template <typename Layout>
void print(const char* name) {
  const Table table = {reinterpret_cast<const float*>(16), prepared_size(7), true};
  std::printf("%s %d %d\\n", name, Layout::kColumns, static_cast<int>(shared_bytes<Layout>({4, 2}, table)));
}
int main() {
  LINES
}
"""


def nvcc() -> str | None:
    """Find CUDA's compiler."""
    return shutil.which('nvcc')


def cuda_layouts(folder: Path) -> dict[str, tuple[int, int]]:
    """Columns of a tile, and bytes of shared memory with two stages, by layout, type and width."""
    names = [
        f'{layout}<{kind}, {width}>'
        for layout in dict.fromkeys(_LAYOUTS.values())
        for kind in _TYPES.values()
        for width in CUDA_WIDTHS
    ]
    source = folder / 'layouts.cu'
    lines = '\n  '.join(f'print<{name}>("{name.replace(" ", "")}");' for name in names)
    source.write_text(_LAYOUT_PROGRAM.replace('LINES', lines))
    subprocess.run([nvcc(), '-std=c++17', '-arch=sm_80', f'-I{SOURCES}', source, '-o', folder / 'layouts'], check=True)
    output = subprocess.check_output(folder / 'layouts', text=True)
    return {name: tuple(map(int, numbers)) for name, *numbers in map(str.split, output.splitlines())}


def cuda_kernels(target: str, source: Path, layouts: dict[str, tuple[int, int]], folder: Path) -> list[Kernel]:
    """Compile a file for a target, with two stages."""
    binary = folder / f'{source.stem}.{target}.cubin'
    options = ['-std=c++17', '-O3', '--expt-relaxed-constexpr', '-cubin', f'-arch={target}']
    subprocess.run([nvcc(), *options, source, '-o', binary], check=True)
    kernels = []
    for mangled, code in nvidia_code(binary).items():
        match = _MANGLED.search(mangled)
        if match is None:
            continue  # one that only adds up
        name = match[1].replace('local_keys', 'keys').replace('global_keys', 'globals')
        kind = _TYPES[match['type']]
        columns, shared = layouts[f'{_LAYOUTS[name]}<{kind},{match["width"]}>']
        dtype = {'float': ('float32', 'tf32')[int(match['tensor'])], '__half': 'float16'}.get(kind, 'bfloat16')
        kernels.append(Kernel('CUDA', name, target, dtype, int(match['width']), 64, columns, 4, shared, code))
    return kernels
