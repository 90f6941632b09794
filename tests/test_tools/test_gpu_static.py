"""tools/benchmarks/gpu_static.py: it reads compiled code rightly, and the kernels stay within their budget."""

import json
import sys

import pytest
import torch

from tests.conftest import ROOT, run_tool
from vil_mm.ops.reference import to_chunks

pytest.importorskip('triton')
FOLDER = ROOT / 'tools/benchmarks'
sys.path.insert(0, str(FOLDER))
import gpu_code  # noqa: E402
import gpu_hardware  # noqa: E402
from gpu_kernels import WIDTHS, Kernel  # noqa: E402
from problem import Shape  # noqa: E402

SASS = """
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/              @!P0 BRA 0x0f0 ;
        /*0020*/                   HMMA.16816.F32 R4, R8, R2, R4 ;  /* a smaller loop */
        /*0030*/               @P1 BRA 0x020 ;
        /*0040*/                   HMMA.16816.F32 R4, R8.reuse, R2, R4 ;
        /*0050*/               @P2 BRA 0x090 ;
        /*0060*/                   FADD R1, R1, R2 ;  /* two instructions this way, three the other */
        /*0070*/                   BRA 0x0c0 ;
        /*0090*/                   MUFU.EX2 R1, R2 ;  /* an inner loop, which counts once */
        /*00a0*/               @P3 CALL.REL.NOINC 0x0c0 ;
        /*00b0*/                   BRA 0x090 ;
        /*00c0*/                   HMMA.16816.F32 R4, R8, R2, R4 ;
        /*00d0*/              @!P4 BRA P5, 0x0f0 ;
        /*00e0*/                   BRA 0x040 ;
        /*00f0*/                   EXIT ;
        /*0100*/                   BRA 0x0100;
"""
AMD = """
kernel:
        s_load_dword s0, s[4:5], 0x0
.LBB0_1:                                ; %loop
        v_mfma_f32_32x32x8_bf16 v[2:17], v[58:59], v[50:51], v[2:17]
        s_cbranch_scc0 .LBB0_3
        v_exp_f32_e32 v1, v2
        v_add_f32_e32 v1, v1, v2
.LBB0_3:
        s_cbranch_scc1 .LBB0_1
        s_endpgm
    .group_segment_fixed_size: 0
    .private_segment_fixed_size: 12
    .vgpr_count:     225
"""


def kernel(code=None, **fields):
    code = code or gpu_code.Code(168, 0, 0, tuple(gpu_code.parse_sass(SASS)))
    fields = dict(language='Triton', name='forward', target='sm_90', dtype='bfloat16', width=32, rows=64) | fields
    return Kernel(**dict(columns=64, warps=4, shared=0, code=code) | fields)


def test_loop_of_sass():
    way = kernel().code.loop()
    assert [x.place for x in way] == [0x40, 0x50, 0x90, 0xA0, 0xC0, 0xD0, 0xE0]
    assert sum(x.macs or 0 for x in way) == 2 * 16 * 8 * 16
    assert kernel().instructions == 7
    assert kernel(columns=32).instructions == 14 and kernel(warps=8, rows=128).instructions == 7


def test_code_of_amd():
    code = gpu_code.amd_code(AMD)
    assert (code.registers, code.spills) == (225, 12)
    names = [x.name for x in code.loop()]
    assert names == ['v_mfma_f32_32x32x8_bf16', 's_cbranch_scc0', 'v_exp_f32_e32', 'v_add_f32_e32', 's_cbranch_scc1']


@pytest.mark.parametrize(
    'target, registers, shared, warps',
    [
        ('sm_90', 168, 0, 12),  # 65536 / (128 * 168) = 3 blocks
        ('sm_90', 161, 0, 12),  # registers are handed out by eights
        ('sm_90', 128, 75 * 1024, 12),  # 228 KB hold three blocks of 75 KB and 1 KB
        ('sm_90', 128, 75 * 1024 + 1, 8),
        ('sm_120', 32, 0, 48),
        ('gfx942', 256, 16 * 1024, 8),
        ('gfx942', 64, 16 * 1024, 16),
    ],
)
def test_resident_warps(target, registers, shared, warps):
    found = kernel(gpu_code.Code(registers, 0, 0, ()), shared=shared)
    assert gpu_hardware.GPUS[target].resident_warps(found) == warps


@pytest.mark.parametrize('grid, window_size', [((56, 56), 7), ((25, 42), 7), ((3, 40), 5)])
def test_number_of_tiles(grid, window_size):
    """Against counts of the tokens that lie in each chunk and in its neighborhood."""
    on_grid = to_chunks(torch.ones(1, 1, grid[0] * grid[1], 1), grid, window_size)[0, 0].sum((2, 3))
    around = torch.nn.functional.avg_pool2d(on_grid[None], 3, 1, 1, divisor_override=1)[0]
    expected = 6 * ((on_grid / 16).ceil() * (around / 32).ceil()).sum()
    found = gpu_hardware.num_tiles(kernel(rows=16, columns=32), Shape(2, 3, 32, *grid, window_size))
    assert found == expected


def test_time_at_least():
    """A tile keeps a multiprocessor busy for 7 clocks with the loop of 7 instructions, and 8 with its exponential."""
    shape = Shape(132 * 18300, 1, 32, 7, 7)
    issue, exponentials, products, second_level, memory = gpu_hardware.GPUS['sm_90'].microseconds(kernel(), shape)
    assert (issue, exponentials) == pytest.approx((70, 80))
    assert products == pytest.approx(10 * 4 * 2 * 16 * 8 * 16 / 1270)
    assert second_level == pytest.approx(132 * 18300 * 2 * 64 * 32 * 2 / 5120 / 1830)
    assert memory == pytest.approx(132 * 18300 * 4 * 49 * 32 * 2 / 3.35e6)


def measure(folder, *arguments):
    """Run the command; gives its results."""
    run_tool(FOLDER / 'gpu_static.py', '--out', folder, *arguments)
    return json.loads((folder / 'results.json').read_text())


def check_instructions(kernels):
    """Heads of 32 take few instructions."""
    instructions = {x['name']: x['instructions'] for x in kernels}
    assert set(instructions) == set(gpu_hardware.WORK)
    assert instructions['forward'] <= 450
    assert sum(instructions[f'backward_{name}'] for name in ('queries', 'keys', 'table')) <= 1600


def test_budget_of_the_most_used_kernels(tmp_path):
    """In bfloat16 with heads of 32 on an H100. The loop does one tile, so that its instructions are those of a tile."""
    arguments = ('--targets', 'sm_90', '--dtypes', 'bfloat16', '--widths', 32, '--languages', 'Triton', '--jobs', 1)
    kernels = measure(tmp_path, *arguments)['kernels']
    check_instructions(kernels)
    assert {x['name']: x['products'] for x in kernels} == {
        name: work.products for name, work in gpu_hardware.WORK.items()
    }
    assert [x['spills'] for x in kernels] == [0] * len(kernels)


@pytest.mark.slow
def test_budget(tmp_path):
    """No kernel of 16-bit numbers spills."""
    arguments = ('--targets', 'sm_80', 'sm_90', '--dtypes', 'float16', 'bfloat16', '--languages', 'Triton')
    kernels = measure(tmp_path, *arguments)['kernels']
    assert len(kernels) == 2 * 2 * len(WIDTHS) * len(gpu_hardware.WORK)
    spilling = [(x['target'], x['name'], x['dtype'], x['width'], x['spills']) for x in kernels if x['spills']]
    assert not spilling, spilling
    for dtype in ('float16', 'bfloat16'):
        check_instructions([x for x in kernels if (x['target'], x['dtype'], x['width']) == ('sm_90', dtype, 32)])


@pytest.mark.slow
def test_all_targets(tmp_path):
    """And the CUDA kernels; what they spill is known."""
    results = measure(tmp_path, '--dtypes', 'bfloat16')
    assert {x['target'] for x in results['kernels'] if x['language'] == 'Triton'} == set(gpu_hardware.GPUS)
    bounds = [x for x in results['bounds'] if (x['language'], x['target'], x['stage']) == ('Triton', 'sm_90', 1)]
    assert [(x['image'], x['direction']) for x in bounds] == [
        (image, direction) for image in ('224x224', '800x1344') for direction in ('forward', 'backward')
    ]
    assert all(x['bound'] >= max(x[name] for name in gpu_hardware.RESOURCES) for x in bounds)
    cuda = [x for x in results['kernels'] if x['language'] == 'CUDA' and x['target'] in ('sm_80', 'sm_90')]
    assert {(x['target'], x['name'], x['width']) for x in cuda if x['spills']} <= {
        ('sm_80', 'forward', 32),
        ('sm_90', 'forward', 32),
        ('sm_90', 'backward_table', 128),
    }
    assert '| Triton | gfx942 | forward | bfloat16 | 32 |' in (tmp_path / 'table.md').read_text()


LAUNCHES = """
import sys
import torch
sys.path.insert(0, {folder!r})
from gpu_kernels import TARGETS, compiling_only
torch.set_num_threads(1)
forward, backward = (
    getattr(torch.ops.vil_mm, f'sliding_window_attention_triton_{{name}}') for name in ('forward', 'backward')
)
with compiling_only(TARGETS['sm_90']) as launches:
    for batch, heads, head_width, height, width, window_size, num_global_tokens, bias, mask, neighbors in {cases!r}:
        for dtype in (torch.float16, torch.float32):
            tokens = height * width
            q = torch.randn(batch, heads, tokens, head_width).to(dtype)
            k, v = torch.randn(2, batch, heads, num_global_tokens + tokens, head_width).to(dtype)
            biases = [None, None]
            if bias:
                biases = [torch.randn((4 * window_size - 1) ** 2, heads), torch.randn(heads, num_global_tokens)]
            settings = (height, width, window_size, num_global_tokens, mask, neighbors, 1.0)
            out, lse = forward(q, k, v, *biases, *settings)
            backward(out, q, k, v, out, lse, *biases, *settings)
print(len(launches))
"""


@pytest.mark.slow
def test_launches_compile():
    """Triton makes constants of arguments that are 1, which its interpreter does not."""
    cases = [
        (1, 1, 1, 1, 1, 1, 1, True, 'block', 0),
        (1, 1, 33, 1, 5, 2, 0, True, 'exact', 0),
        (2, 2, 32, 1, 1, 7, 1, False, 'cyclic', 3),
        (1, 3, 8, 9, 9, 16, 70, True, 'torus', -1),
    ]
    program = LAUNCHES.format(folder=str(FOLDER), cases=cases)
    launches = run_tool('-c', program, env={'TRITON_INTERPRET': '0'}).stdout
    assert int(launches) > 4 * 2 * len(cases)
