"""The op with PyTorch's tools: compile, export, checkpointing, DDP, autocast, FLOP counts."""

import importlib.util
import itertools
import os
import re
import shutil
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.torch_version import TorchVersion
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from tests.conftest import run_in_two_processes, run_tool
from tests.test_ops.cases import DEVICES, MODES, attend, backend_parameters, make
from vil_mm.ops import _library, sliding_window_attention
from vil_mm.ops.checks import MASKS, MAX_WINDOW_SIZE, NEIGHBORS

COMPILED = backend_parameters('cpu', 'cuda')
FAST = backend_parameters('cpu', 'cuda', 'pytorch')


class Attend(nn.Module):
    """The op with its own parameters, on one product of queries, keys and values."""

    def __init__(self, backend, window_size=3, heads=2, width=8, **settings):
        super().__init__()
        self.qkv = nn.Linear(heads * width, 3 * heads * width)
        self.bias_table = nn.Parameter(torch.randn((4 * window_size - 1) ** 2, heads))
        self.global_bias = nn.Parameter(torch.randn(heads, 1))
        self.settings = dict(window_size=window_size, num_global_tokens=1, backend=backend, **settings)
        self.heads = heads
        self.to(DEVICES[backend])

    def forward(self, x, hw_shape):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        biases = dict(bias_table=self.bias_table, global_bias=self.global_bias)
        local = sliding_window_attention(q[:, :, 1:], k, v, hw_shape, **biases, **self.settings)
        return local.transpose(1, 2).flatten(2)


def tokens(hw_shape, backend, batch=2):
    return torch.randn(batch, 1 + hw_shape[0] * hw_shape[1], 16, device=DEVICES[backend])


def gradients(module, output):
    return torch.autograd.grad(output.square().sum(), list(module.parameters()))


SAMPLES = [
    *itertools.product(MODES, [True], [1]),
    (('block', 'all'), False, 0),
    (('exact', 'all'), False, 1),
    (('cyclic', 'all'), True, 0),
    (('block', 3), False, 4),
]


@pytest.mark.parametrize('backend', COMPILED)
@pytest.mark.parametrize('mode, bias, num_global_tokens', SAMPLES)
def test_opcheck(mode, bias, num_global_tokens, backend):
    mask, neighbors = mode
    q, k, v, biases = make((5, 7), 3, num_global_tokens, bias, dtype=torch.float32)
    tensors = [None if x is None else x.to(DEVICES[backend]).requires_grad_() for x in (q, k, v, *biases.values())]
    settings = (5, 7, 3, num_global_tokens, mask, _library.encode_neighbors(neighbors), 0.5)
    torch.library.opcheck(torch.ops.vil_mm.sliding_window_attention_forward.default, (*tensors, *settings))
    tensors = [None if x is None else x.detach() for x in tensors]
    out, lse = torch.ops.vil_mm.sliding_window_attention_forward(*tensors, *settings)
    arguments = (torch.randn_like(out), *tensors[:3], out, lse, *tensors[3:], *settings)
    torch.library.opcheck(torch.ops.vil_mm.sliding_window_attention_backward.default, arguments)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('mode, bias, num_global_tokens', [*SAMPLES[-4:], (('torus', 'all'), True, 1)])
def test_opcheck_of_strips(mode, bias, num_global_tokens, dtype):
    mask, neighbors = mode
    q, k, v, biases = make((5, 7), 3, num_global_tokens, bias, dtype=dtype)
    tensors = [None if x is None else x.requires_grad_() for x in (q, k, v, *biases.values())]
    settings = (5, 7, 3, num_global_tokens, mask, str(neighbors), 0.5)
    torch.library.opcheck(torch.ops.vil_mm.sliding_window_attention_strips.default, (*tensors, *settings))
    tensors = [None if x is None else x.detach() for x in tensors]
    arguments = (torch.randn_like(q), *tensors, *settings)
    torch.library.opcheck(torch.ops.vil_mm.sliding_window_attention_strips_backward.default, arguments)


@pytest.mark.parametrize('backend', FAST)
def test_compile_with_dynamic_shapes(backend):
    module = Attend(backend)
    compiled = torch.compile(module, fullgraph=True, dynamic=True)
    for batch, hw_shape in [(2, (5, 6)), (1, (4, 7)), (3, (9, 8))]:
        x = tokens(hw_shape, backend, batch)
        expected, output = module(x, hw_shape), compiled(x, hw_shape)
        torch.testing.assert_close(output, expected)
        torch.testing.assert_close(gradients(module, output), gradients(module, expected))


@pytest.mark.parametrize('backend', [*FAST, *backend_parameters('reference')])
def test_export(backend):
    module = Attend(backend).eval()
    batch = torch.export.Dim('batch', min=1, max=64)
    program = torch.export.export(module, (tokens((5, 6), backend), (5, 6)), dynamic_shapes=({0: batch}, (None, None)))
    for size in (1, 2, 7):
        x = tokens((5, 6), backend, size)
        torch.testing.assert_close(program.module()(x, (5, 6)), module(x, (5, 6)))


@pytest.mark.parametrize('backend', FAST)
@pytest.mark.parametrize('use_reentrant', [False, True])
def test_checkpointing(use_reentrant, backend):
    module = Attend(backend)
    x = tokens((5, 6), backend).requires_grad_()
    plain = torch.autograd.grad(module(x, (5, 6)).square().sum(), x)
    if use_reentrant:
        output = checkpoint(module, x, (5, 6), use_reentrant=True)
        output.square().sum().backward()
        saved = (x.grad,)
    else:
        saved = torch.autograd.grad(checkpoint(module, x, (5, 6), use_reentrant=False).square().sum(), x)
    assert torch.equal(plain[0], saved[0])


DDP = """
import torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from tests.test_ops.test_library import Attend, gradients

dist.init_process_group('gloo')
torch.manual_seed(0)
module = Attend('cpu').double()
x = torch.randn(4, 31, 16, dtype=torch.float64)
expected = gradients(module, module(x, (5, 6)))
part = x.chunk(2)[dist.get_rank()]
parallel = DistributedDataParallel(module)
parallel(part, (5, 6)).square().sum().backward()
for parameter, gradient in zip(module.parameters(), expected):
    torch.testing.assert_close(2 * parameter.grad, gradient)
dist.destroy_process_group()
"""


@pytest.mark.parametrize('backend', backend_parameters('cpu'))
def test_two_processes(backend, tmp_path):
    (tmp_path / 'ddp.py').write_text(DDP)
    run_in_two_processes(tmp_path / 'ddp.py')


@pytest.mark.parametrize('backend', FAST)
def test_autocast(backend):
    q, k, v, biases = make((5, 6), 3, 1, dtype=torch.float32)
    inputs = [x.to(DEVICES[backend]) for x in (q, k, v)]
    settings = dict(hw_shape=(5, 6), window_size=3, num_global_tokens=1, backend=backend)
    settings |= {name: x.to(DEVICES[backend]) for name, x in biases.items()}
    with torch.autocast(DEVICES[backend], torch.bfloat16):
        output = sliding_window_attention(*inputs, **settings)
    # the biases keep their precision
    assert torch.equal(output, sliding_window_attention(*(x.bfloat16() for x in inputs), **settings))


@pytest.mark.parametrize('backend', FAST)
@pytest.mark.parametrize('neighbors, keys', [('all', 9 * 9 + 1), ('self', 9 + 1), (5, 2 * 9 + 1)])
def test_flops(neighbors, keys, backend):
    module = Attend(backend, neighbors=neighbors)
    x = tokens((5, 6), backend)
    with FlopCounterMode(display=False) as counter:
        module(x, (5, 6)).sum().backward()
    counts = {op.__name__: count for op, count in counter.get_flop_counts()['Global'].items()}
    counts = [count for name, count in counts.items() if name.startswith('sliding_window_attention')]
    forward = 4 * 2 * 30 * 16 * keys  # a multiply-add counts 2, in two products, for each of N * h * w tokens
    assert counts == [forward, 2.5 * forward]


@pytest.mark.parametrize('backend', COMPILED)
def test_second_derivative_is_refused(backend):
    module = Attend(backend)
    output = module(tokens((5, 6), backend), (5, 6))
    (gradient,) = torch.autograd.grad(output.sum(), module.bias_table, create_graph=True)
    with pytest.raises(NotImplementedError, match="backend='reference'"):
        gradient.sum().backward()


@pytest.mark.parametrize('backend', COMPILED)
def test_direct_calls_are_checked(backend):
    q, k, v, _ = make((5, 6), 3, dtype=torch.float32)
    q, k, v = (x.to(DEVICES[backend]) for x in (q, k, v))
    forward = torch.ops.vil_mm.sliding_window_attention_forward
    compiled_masks = tuple(mask for mask in MASKS if mask != 'torus')
    for arguments, message in [
        ((q, k, v, None, None, 5, 7, 3, 0, 'block', 0, 1.0), r'q has shape \[2, 2, 30, 4\], must be \[2, 2, 35, 4\]'),
        ((q, k[:, :, 1:], v, None, None, 5, 6, 3, 0, 'block', 0, 1.0), 'k has shape'),
        ((q, k, v.double(), None, None, 5, 6, 3, 0, 'block', 0, 1.0), 'v has dtype Double, must be that of q, Float'),
        ((q, k, v, q, None, 5, 6, 3, 0, 'block', 0, 1.0), 'bias_table has shape'),
        ((q, k, v, None, None, 5, 6, 0, 0, 'block', 0, 1.0), 'window_size=0 must be from 1'),
        ((q, k, v, None, None, 5, 6, 3, 0, 'round', 0, 1.0), re.escape(f"mask='round' is not one of {compiled_masks}")),
        ((q, k, v, None, None, 5, 6, 3, 0, 'block', 9, 1.0), 'neighbors=9 must be from -1 to 8'),
        ((q, k, v, None, None, 5, 6, 3, 0, 'exact', 1, 1.0), "mask='exact' is defined only on the whole neighborhood"),
    ]:
        with pytest.raises(ValueError, match=message):
            forward(*arguments)


@pytest.mark.parametrize('backend', backend_parameters('cpu'))
def test_constants(backend):
    """What both sides write down is the same; the rest Python takes from the compiled code."""
    assert _library.CONSTANTS['last_neighbor'] == NEIGHBORS[-1]
    codes = dict(all=_library.CONSTANTS['all_neighbors'], self=_library.CONSTANTS['own_chunk'])
    assert codes == _library.NEIGHBOR_CODES
    assert _library.CONSTANTS['max_window_size'] == MAX_WINDOW_SIZE


@pytest.mark.parametrize('heads', [1, 2])
@pytest.mark.parametrize('backend', FAST)
def test_results_do_not_vary(backend, heads):
    """They are the same bit for bit in every run, and on the CPU with any number of threads.

    With one head there, rows of chunks are cut into several tasks.
    """
    q, k, v, biases = make((23, 31), 5, 2, heads=heads, batch=1, width=32, dtype=torch.float32)
    arguments, grad_out = dict(q=q, k=k, v=v, **biases), torch.randn(q.shape)
    settings = dict(hw_shape=(23, 31), window_size=5, num_global_tokens=2, mask='cyclic')
    threads = torch.get_num_threads()
    runs = []
    for number in (1, 2, 3, 4):
        torch.set_num_threads(number)
        runs.append(attend(arguments, settings, backend, grad_out))
    torch.set_num_threads(threads)
    for run in runs[1:]:
        assert all(torch.equal(result, run[name]) for name, result in runs[0].items())


THREADS = """
import os
import torch
from vil_mm.ops import sliding_window_attention
torch.set_num_threads(2)
q = torch.randn(1, 2, 48, 4)
before = len(os.listdir('/proc/self/task'))
sliding_window_attention(q, q, q, (12, 4), 4, backend='cpu')
assert len(os.listdir('/proc/self/task')) > before
"""


@pytest.mark.skipif(not os.path.isdir('/proc/self/task'), reason='this system does not list the threads of a process')
@pytest.mark.parametrize('backend', backend_parameters('cpu'))
def test_all_threads_work(backend):
    run_tool('-c', THREADS)


OUT_OF_MEMORY = """
import resource
import torch
from vil_mm.ops import sliding_window_attention
torch.set_num_threads(2)
q = torch.randn(1, 1, 4097, 4)
sliding_window_attention(q, q, q, (4097, 1), 16, backend='cpu')
pages = int(open('/proc/self/statm').read().split()[0])
limit = pages * resource.getpagesize() + 2**28
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    # each of two threads wants 1 GiB for the mask
    sliding_window_attention(q, q, q, (4097, 1), 4096, mask='exact', backend='cpu')
except MemoryError:
    print('refused')
"""


@pytest.mark.skipif(not os.path.isfile('/proc/self/statm'), reason='this system does not tell the size of a process')
@pytest.mark.parametrize('backend', backend_parameters('cpu'))
def test_lack_of_memory_is_an_error(backend):
    assert run_tool('-c', OUT_OF_MEMORY).stdout == 'refused\n'


CAPABILITIES = ['DEFAULT', 'AVX2', 'AVX512']
BEST = torch.backends.cpu.get_cpu_capability()
#: Those of this processor; others than x86 have one.
INSTRUCTION_SETS = CAPABILITIES[: CAPABILITIES.index(BEST) + 1] if BEST in CAPABILITIES else ['DEFAULT']
CHECK_INSTRUCTION_SET = """
import torch
from tests.test_ops.cases import check_rows, fixed_rows
assert torch.backends.cpu.get_cpu_capability() == {expected!r}
check_rows(fixed_rows()[::31], 'cpu')
"""


@pytest.mark.parametrize('backend', backend_parameters('cpu'))
@pytest.mark.parametrize('capability', INSTRUCTION_SETS)
def test_instruction_sets(capability, backend):
    program = CHECK_INSTRUCTION_SET.format(expected=capability)
    # the last one without products of bfloat16, which the other tests use where the processor has them
    run_tool('-c', program, env={'ATEN_CPU_CAPABILITY': capability.lower(), 'ONEDNN_MAX_CPU_ISA': 'AVX512_CORE'})


OUTPUT = """
import torch
from tests.test_ops.cases import make
from vil_mm.ops import sliding_window_attention
torch.manual_seed(0)
q, k, v, _ = make((14, 14), 7, width=32, dtype=torch.{dtype})
print(sliding_window_attention(q, k, v, (14, 14), 7, backend='cpu').double().norm().item())
"""


@pytest.mark.parametrize('backend', backend_parameters('cpu'))
def test_instruction_set_can_be_lowered(backend):
    """By PyTorch's own variable. Each set rounds differently."""
    environments = [{'ATEN_CPU_CAPABILITY': capability.lower()} for capability in INSTRUCTION_SETS]
    norms = {run_tool('-c', OUTPUT.format(dtype='float32'), env=environment).stdout for environment in environments}
    assert len(norms) == len(INSTRUCTION_SETS)


@pytest.mark.parametrize('backend', backend_parameters('cpu'))
def test_products_of_bfloat16(backend):
    """They serve where the processor has them, unless oneDNN's variable forbids them; in bfloat16 only."""
    has_them = BEST == 'AVX512' and torch.cpu._is_avx512_bf16_supported()
    for dtype, differs in ('bfloat16', has_them), ('float16', False):
        program = OUTPUT.format(dtype=dtype)
        norms = {
            run_tool('-c', program, env={'ONEDNN_MAX_CPU_ISA': limit}).stdout for limit in ('ALL', 'AVX512_CORE_VNNI')
        }
        assert len(norms) == 1 + differs


def test_load_error_is_told():
    program = """
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == 'vil_mm._C' else find(name, *rest)
import torch
from vil_mm.ops import BACKENDS, sliding_window_attention
q = torch.randn(1, 1, 12, 4)
expected = sliding_window_attention(q, q, q, (3, 4), 2, backend='pytorch')
assert torch.equal(sliding_window_attention(q, q, q, (3, 4), 2), expected)
try:
    sliding_window_attention(q, q, q, (3, 4), 2, backend='cpu')
except ValueError as error:
    print(error)
"""
    output = run_tool('-c', program).stdout
    assert output.count('Sliding-window attention falls back to plain PyTorch') == 1
    assert "backend='cpu' cannot run: the extension vil_mm._C is not built" in output


def test_outdated_extension_is_named(monkeypatch):
    """One that an older version of the package built, before ``list_constants``."""
    monkeypatch.setattr(torch.ops, 'vil_mm', SimpleNamespace())
    assert 'built from an older version of vil_mm, rebuild it' in _library._load()


def test_windows_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    monkeypatch.setattr(sys, 'platform', 'win32')
    assert _library._load() == 'the extension vil_mm._C cannot be built on Windows yet'


def test_outdated_pytorch_is_named(monkeypatch):
    monkeypatch.setattr(torch, '__version__', TorchVersion('2.9.1+cpu'))
    assert _library._load() == 'the extension vil_mm._C needs PyTorch 2.10 or newer, and this is 2.9.1+cpu'


def test_extension_is_built():
    """The repository's own setup builds it, so that the tests above are not skipped unnoticed."""
    assert _library.LOAD_ERROR is None


@pytest.mark.skipif(
    not shutil.which('nvcc') or not torch.version.cuda, reason='there is no nvcc, or no CUDA in PyTorch'
)
def test_cuda_code_is_built():
    assert _library.has_kernels('CUDA')
