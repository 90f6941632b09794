"""The CUDA kernels' source, compiled for the CPU and run thread by thread, against the reference.

They need a C++17 compiler and no CUDA. cuda_emulator/ says what is emulated. VIL_MM_SANITIZE=1 in the environment
compiles with the sanitizers for addresses and undefined behavior; the run then needs LD_PRELOAD with libasan.so and
libubsan.so, and ASAN_OPTIONS=detect_leaks=0.
"""

import ctypes
import fcntl
import itertools
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from tests.test_ops.cases import MODES
from vil_mm.ops.reference import sliding_window_attention_reference

ROOT = Path(__file__).parents[2]
KERNELS = ROOT / 'csrc' / 'cuda'
EMULATOR = Path(__file__).parent / 'cuda_emulator'
SUFFIX = {torch.float32: 'float', torch.float16: 'half', torch.bfloat16: 'bfloat16'}
NAMES = ('out', 'q', 'k', 'v', 'bias_table', 'global_bias')
HOPPER, TURING = 227 * 1024, 64 * 1024  # shared memory of a block
REGISTERS = 128  # of a thread


class TensorView(ctypes.Structure):
    _fields_ = [('data', ctypes.c_void_p), ('strides', ctypes.c_int64 * 3)]

    @classmethod
    def of(cls, tensor):
        assert tensor.stride(3) == 1
        return cls(tensor.data_ptr(), (ctypes.c_int64 * 3)(*tensor.stride()[:3]))


INTEGERS = ('height', 'width', 'window', 'num_global', 'head_width', 'neighbors', 'allow_tf32')
TENSORS = ('q', 'k', 'v', 'out', 'grad_out', 'grad_q', 'grad_k', 'grad_v')
FLOATS = ('bias_table', 'global_bias', 'lse', 'grad_bias_table', 'grad_global_bias', 'workspace')


class Call(ctypes.Structure):
    """The fields of Call in cuda_emulator/bindings.cpp."""

    _fields_ = [
        ('batch', ctypes.c_int64),
        ('heads', ctypes.c_int64),
        ('mask', ctypes.c_char_p),
        *((name, ctypes.c_int) for name in INTEGERS),
        ('scale', ctypes.c_double),
        *((name, TensorView) for name in TENSORS),
        *((name, ctypes.c_void_p) for name in FLOATS),
    ]


def compile_once(target, *command):
    """Run a compiler, unless another worker of the test run already has."""
    with open(f'{target}.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            subprocess.run([*command, '-o', target], check=True)


def compile_kernels(tmp_path_factory, name, dtypes, *options):
    """Compile the kernels for some dtypes and the emulator into one library, which all workers share."""
    worker = os.environ.get('PYTEST_XDIST_WORKER')
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if worker else base) / name
    folder.mkdir(exist_ok=True)
    compiler = shutil.which('g++') or shutil.which('c++')
    if compiler is None:
        pytest.skip('needs a C++ compiler')
    suffixes = [SUFFIX[dtype] for dtype in dtypes]
    flags = [
        '-std=c++17',
        '-O1',
        '-fPIC',
        '-w',
        '-DVIL_MM_EMULATE',
        f'-I{EMULATOR / "include"}',
        f'-I{KERNELS}',
        *options,
    ]
    flags += ['-march=native', '-ffp-contract=fast']  # as nvcc does: a product and a sum are rounded once
    flags += [f'-DVIL_MM_EMULATE_{suffix.upper()}' for suffix in suffixes]
    if os.environ.get('VIL_MM_SANITIZE') == '1':
        flags += ['-g', '-fsanitize=address,undefined', '-fno-sanitize-recover=undefined']
    sources = [EMULATOR / 'emulator.cpp', EMULATOR / 'bindings.cpp', *sorted(KERNELS.glob('*.cu'))]
    others = tuple(f'_{suffix}' for suffix in set(SUFFIX.values()).difference(suffixes))
    objects = {folder / f'{source.name}.o': source for source in sources if not source.stem.endswith(others)}
    # from both ends, so that two workers do not wait for each other
    for target in [*objects][:: -1 if worker == 'gw1' else 1]:
        compile_once(target, compiler, *flags, '-x', 'c++', '-c', objects[target])
    compile_once(folder / 'kernels.so', compiler, *flags, '-shared', *objects)
    library = ctypes.CDLL(str(folder / 'kernels.so'))
    for name in ('forward_workspace', *(f'backward_workspace_{suffix}' for suffix in suffixes)):
        getattr(library, name).restype = ctypes.c_size_t
    assert library.call_size() == ctypes.sizeof(Call)
    library.configure.argtypes = [ctypes.c_size_t, ctypes.c_uint, ctypes.c_int]
    return library


@pytest.fixture(scope='session')
def tensor_cores(tmp_path_factory):
    return compile_kernels(tmp_path_factory, 'tensor_cores', SUFFIX)


@pytest.fixture(scope='session')
def plain(tmp_path_factory):
    """The kernels as on a device without the tensor-core instructions."""
    return compile_kernels(tmp_path_factory, 'plain', [torch.float16], '-DVIL_MM_EMULATE_NO_TENSOR_CORES')


def outputs(shape, dtype):
    """An output as the binding allocates it, full of NaN."""
    batch, heads, tokens, width = shape
    return torch.full((batch, tokens, heads, width), float('nan'), dtype=dtype).transpose(1, 2)


def workspace(size):
    return torch.full((size + 8,), float('nan'))


def emulate(library, case, tf32=False, shared_memory=HOPPER, seed=0):
    """Run forward and backward: the output and the gradients of q, k, v, table and global bias."""
    q, k, v, grad_out = (case[name] for name in ('q', 'k', 'v', 'grad_out'))
    table, global_bias = case['bias_table'], case['global_bias']
    held = dict(q=q, k=k, v=v, grad_out=grad_out)
    held['out'], held['grad_q'] = outputs(q.shape, q.dtype), outputs(q.shape, q.dtype)
    held['grad_k'], held['grad_v'] = outputs(k.shape, k.dtype), outputs(v.shape, v.dtype)
    held['lse'] = torch.full(q.shape[:3], float('nan'))
    if table is not None:
        held['bias_table'] = table.float().T.contiguous()
        held['grad_bias_table'] = torch.full_like(held['bias_table'], float('nan'))
    if global_bias is not None:
        held['global_bias'] = global_bias.float().contiguous()
        held['grad_global_bias'] = torch.full_like(held['global_bias'], float('nan'))
    sizes = (*q.shape[:2], case['mask'].encode(), *case['hw_shape'], case['window_size'], case['num_global_tokens'])
    neighbors = {'all': library.all_neighbors(), 'self': library.own_chunk()}.get(case['neighbors'], case['neighbors'])
    call = Call(*sizes, q.shape[3], neighbors, tf32, case['scale'])
    for name, tensor in held.items():
        setattr(call, name, TensorView.of(tensor) if name in TENSORS else tensor.data_ptr())
    library.configure(shared_memory, seed, REGISTERS)
    suffix = SUFFIX[q.dtype]
    passes = {f'forward_{suffix}': 'forward_workspace', f'backward_{suffix}': f'backward_workspace_{suffix}'}
    for function, size_function in passes.items():
        size = getattr(library, size_function)(ctypes.byref(call))
        scratch = workspace(size)
        call.workspace = scratch.data_ptr()
        assert getattr(library, function)(ctypes.byref(call)) == 0
        assert scratch[size:].isnan().all()
    grads = [held['grad_q'], held['grad_k'], held['grad_v']]
    grads += [held['grad_bias_table'].T] if table is not None else []
    grads += [held['grad_global_bias']] if global_bias is not None else []
    return [held['out'], *grads]


def reference(case, dtype):
    """The same from the reference, in another precision."""
    names = [name for name in ('q', 'k', 'v', 'bias_table', 'global_bias') if case[name] is not None]
    leaves = {name: case[name].detach().to(dtype).requires_grad_() for name in names}
    arguments = {name: value for name, value in case.items() if name != 'grad_out'} | leaves
    out = sliding_window_attention_reference(**arguments)
    return [out.detach(), *torch.autograd.grad(out, list(leaves.values()), case['grad_out'].to(dtype))]


def make(
    hw_shape,
    window,
    mask='block',
    neighbors='all',
    width=8,
    num_global=0,
    bias=True,
    dtype=torch.float32,
    batch=1,
    heads=2,
    scale=None,
):
    """Random arguments; q, k and v are slices of one product, as the attentions pass them."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(shape, generator=generator).to(dtype)

    h, w = hw_shape
    q, k, v = random(batch, num_global + h * w, 3, heads, width).permute(2, 0, 3, 1, 4).unbind(0)
    return dict(
        q=q[:, :, num_global:],
        k=k,
        v=v,
        hw_shape=hw_shape,
        window_size=window,
        num_global_tokens=num_global,
        bias_table=random((4 * window - 1) ** 2, heads) if bias else None,
        global_bias=random(heads, num_global) if bias and num_global else None,
        mask=mask,
        neighbors=neighbors,
        scale=width**-0.5 if scale is None else scale,
        grad_out=random(batch, h * w, heads, width).transpose(1, 2),
    )


def check(library, case, tf32=False, **settings):
    """The error against float64 is at most twice that of the reference in the same precision, plus half of a last bit.

    tf32 keeps 10 bits after the leading one and rounds both factors of a product, so that a product is off by at most
    2**-10. In the backward the factors are such products themselves, and off by twice as much.
    """
    dtype = case['q'].dtype
    eps = torch.finfo(dtype).eps
    expected, rounded = reference(case, torch.float64), reference(case, dtype)
    names = [name for name in NAMES if name == 'out' or case[name] is not None]
    scale = case['grad_out'].double().norm()
    problems = []
    for name, result, truth, other in zip(names, emulate(library, case, tf32, **settings), expected, rounded):
        assert result.isfinite().all(), name
        size, error, allowed = truth.norm(), (result - truth).norm(), 2 * (other - truth).norm()
        slack = eps / 2 + tf32 * (1 if name == 'out' else 2) * 2**-10
        if name.endswith(('bias', 'table')):
            # few results, which are sums of many numbers that cancel: there the reference may be lucky
            slack, size = 8 * eps + tf32 * 2**-8, max(size, scale / 10)
        if case['window_size'] <= 2:
            # few keys: the softmax may cancel nearly all of the scores' gradients and leave their errors
            size = max(size, scale)
        if error > allowed + slack * size:
            problems.append(f'{name}: error {error:.2e}, allowed {allowed + slack * size:.2e}, size {truth.norm():.2e}')
    assert not problems, problems


PRECISIONS = [
    pytest.param(dict(dtype=torch.float32), id='float32'),
    pytest.param(dict(dtype=torch.float32, tf32=True), id='tf32'),
    pytest.param(dict(dtype=torch.float16), id='float16'),
    pytest.param(dict(dtype=torch.bfloat16), id='bfloat16'),
]

# map, window, mask, neighbors, head width, global tokens, bias
CASES = [
    ((1, 1), 1, 'cyclic', 'all', 8, 0, True),
    ((5, 4), 1, 'exact', 'all', 24, 1, True),
    ((1, 13), 3, 'cyclic', 'all', 32, 4, True),
    ((11, 1), 2, 'block', 'all', 40, 0, False),
    ((3, 3), 5, 'cyclic', 'all', 48, 1, True),
    ((4, 9), 5, 'exact', 'all', 64, 0, False),
    ((15, 9), 7, 'block', 'all', 32, 1, True),
    ((9, 15), 7, 'cyclic', 'all', 64, 4, True),
    ((8, 17), 8, 'exact', 'all', 80, 17, True),
    ((10, 9), 9, 'cyclic', 8, 128, 0, True),
    ((17, 20), 16, 'block', 4, 33, 1, False),
    ((3, 3), 2, 'block', 'self', 8, 70, True),
]


def run_case(library, precision, index, **settings):
    hw_shape, window, mask, neighbors, width, num_global, bias = CASES[index]
    case = make(hw_shape, window, mask, neighbors, width, num_global, bias, dtype=precision['dtype'])
    check(library, case, precision.get('tf32', False), **settings)


@pytest.mark.parametrize('precision', PRECISIONS[:3])
@pytest.mark.parametrize('mask, neighbors', MODES)
def test_modes(tensor_cores, precision, mask, neighbors):
    """Every mask and neighbor, on a map with padding and on one with a single chunk."""
    for hw_shape, window, num_global in (((5, 7), 3, 1), ((2, 3), 4, 2)):
        case = make(hw_shape, window, mask, neighbors, 16, num_global, dtype=precision['dtype'])
        check(tensor_cores, case, precision.get('tf32', False))


@pytest.mark.parametrize('precision', PRECISIONS)
@pytest.mark.parametrize('index', range(len(CASES)))
def test_sizes(tensor_cores, precision, index):
    run_case(tensor_cores, precision, index)


@pytest.mark.slow  # it compiles the kernels once more
@pytest.mark.parametrize('index', range(len(CASES)))
def test_without_tensor_cores(plain, index):
    run_case(plain, dict(dtype=torch.float16), index)


def same_bits(some, others):
    return all(torch.equal(a, b) for a, b in zip(some, others))


@pytest.mark.parametrize(
    'precision, mask',
    [
        pytest.param(*p.values, mask, id=f'{p.id}-{mask}')
        for p, mask in zip(PRECISIONS, ['exact', 'block', 'exact', 'cyclic'])
    ],
)
def test_order(tensor_cores, precision, mask):
    """The bits do not depend on the order of blocks and threads, nor on how much shared memory there is."""
    precision = dict(precision)
    tf32 = precision.pop('tf32', False)
    case = make((9, 15), 7, mask, 'all', 100, 3, **precision, heads=1)
    first = emulate(tensor_cores, case, tf32)
    assert same_bits(first, emulate(tensor_cores, case, tf32, seed=1))
    assert same_bits(first, emulate(tensor_cores, case, tf32, seed=2, shared_memory=TURING))


@pytest.mark.parametrize('precision', PRECISIONS)
def test_alignment(tensor_cores, precision):
    """Tensors that are not aligned to 16 bytes."""
    precision = dict(precision)
    tf32 = precision.pop('tf32', False)
    case = make((5, 9), 4, 'exact', 'all', 40, 1, **precision)
    for name in ('q', 'k', 'v', 'grad_out'):
        x = case[name]
        case[name] = torch.empty(x.numel() + 1, dtype=x.dtype)[1:].view(x.shape).copy_(x)
    check(tensor_cores, case, tf32)


@pytest.mark.parametrize('precision', PRECISIONS)
def test_large_scores(tensor_cores, precision):
    """Scores beyond the range of the exponential."""
    case = make((6, 6), 3, 'cyclic', 'all', 16, 1, scale=40, dtype=precision['dtype'])
    for result in emulate(tensor_cores, case, precision.get('tf32', False)):
        assert result.isfinite().all()


@pytest.mark.parametrize(
    'kilobytes, registers, stages',
    [
        # two blocks of two stages need 64 KB, and 1 KB more for each, of which the limit of a block leaves out one
        pytest.param(65, REGISTERS, 2, id='two blocks of two stages'),
        pytest.param(64, REGISTERS, 1, id='two blocks of one stage'),
        pytest.param(32, REGISTERS, 2, id='one block'),
        pytest.param(31, REGISTERS, 1, id='one stage'),
        pytest.param(64, 300, 2, id='registers for one block'),  # a larger block would need so many
        pytest.param(15, REGISTERS, 0, id='none'),
    ],
)
def test_plan(tensor_cores, kilobytes, registers, stages):
    """A block has a second stage only if that leaves as many blocks on a multiprocessor as hide latency, or one."""
    tensor_cores.configure(kilobytes * 1024, 0, registers)
    assert tensor_cores.planned_stages() == stages


def test_images_and_parts(tensor_cores):
    """Several images, and more queries than one part of the global tokens' gradient has."""
    check(tensor_cores, make((24, 25), 4, 'block', 'self', 8, 2, batch=2, heads=1))


def test_large_window(tensor_cores):
    """A table that is too large for shared memory, and whose gradient is summed in groups."""
    check(tensor_cores, make((3, 28), 26, 'exact', 'all', 8, 1, heads=1))


@pytest.mark.slow
@pytest.mark.parametrize('precision', PRECISIONS)
@pytest.mark.parametrize('window', [1, 2, 3, 5, 7, 8, 9, 16])
def test_sweep(tensor_cores, plain, precision, window):
    turns = [itertools.cycle(x) for x in ([8, 24, 32, 40, 48, 64, 80, 128, 33], [0, 1, 4, 17], [True, False])]
    maps = [(1, 2 * window + 3), (3 * window + 1, 1), (window // 2 + 1, window), (2 * window, 3 * window - 1)]
    for (mask, neighbors), hw_shape in itertools.product(MODES, maps):
        width, num_global, bias = (next(turn) for turn in turns)
        case = make(hw_shape, window, mask, neighbors, width, num_global, bias, dtype=precision['dtype'], heads=1)
        check(tensor_cores, case, precision.get('tf32', False))
        if precision['dtype'] == torch.float16:
            check(plain, case)
