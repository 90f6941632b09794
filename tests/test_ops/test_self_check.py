"""The self-check, on the CPU as a stand-in for a GPU: what it rejects, and where verdicts come from."""

import dataclasses
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch._subclasses import FakeTensorMode

from tests.conftest import ROOT, run_tool
from tests.test_ops import faults
from vil_mm.collect_env import describe_backends, describe_choice, describe_verdicts
from vil_mm.ops import choice, sliding_window_attention
from vil_mm.ops._library import LOAD_ERROR
from vil_mm.ops.backends import BACKENDS, Backend
from vil_mm.ops.choice import choose_backend, find_floor
from vil_mm.ops.self_check import checking, verdicts
from vil_mm.ops.self_check.__main__ import main
from vil_mm.ops.self_check.fences import Fences
from vil_mm.ops.self_check.verdicts import Verdict, folder_of, read_verdict, write_verdict

pytestmark = pytest.mark.skipif(LOAD_ERROR is not None, reason=str(LOAD_ERROR))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(checking, '_known', {})
    for name in ('VIL_MM_GPU_KERNELS', 'VIL_MM_BACKEND'):
        monkeypatch.delenv(name, raising=False)
    choice.log_once.cache_clear()
    return tmp_path / 'cache'


ZYGOTE = """
import json, os, sys
import torch._dynamo, torch.fx.experimental.symbolic_shapes  # the first backward would import them, in every child
from tests.test_ops import faults, test_self_check
from vil_mm.ops.self_check import judge, worker
judge.SMALL = judge.SMALL[2::6]  # with many global tokens, whose few gradients depend on luck
for line in sys.stdin:
    code, output = json.loads(line)
    child = os.fork()
    if not child:
        with open(output, 'w') as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
        exec(code)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope='module')
def fork():
    """Run code in a process that holds PyTorch already, which takes seconds to import; returns the exit status."""
    command = [sys.executable, '-c', ZYGOTE]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, 'OMP_NUM_THREADS': '1'}, **pipes) as zygote:

        def run(code, output):
            print(json.dumps([code, str(output)]), file=zygote.stdin, flush=True)
            return int(zygote.stdout.readline())

        yield run
        zygote.stdin.close()


@pytest.fixture
def forked(fork, monkeypatch):
    """Fork workers, for two of the small problems, instead of starting Python anew; returns their exit statuses."""
    statuses = []

    def run(command, output):
        statuses.append(fork(f'worker.main(*{command[-2:]})', output))
        return statuses[-1]

    monkeypatch.setattr(checking, 'run', run)
    return statuses


def put(set_item, name):
    """Put a function in the place of a GPU backend, without a compiled backend for the CPU beside it."""
    for other in ('triton', 'cpu'):
        set_item(BACKENDS, other, dataclasses.replace(BACKENDS[other], unavailable='the test'))
    set_item(BACKENDS, 'gpu', Backend(getattr(faults, name), needs_proof=True, refuse=BACKENDS['cpu'].refuse))


@pytest.fixture
def stand_in(monkeypatch):
    return functools.partial(put, monkeypatch.setitem)


SUBJECT = checking.Subject('gpu', 'cpu', 'float32', 32)
Q = torch.randn(1, 2, 12, 20)


def check():
    return checking.find_or_check(SUBJECT, find_floor(Q))


def choose():
    """The name of the automatic choice."""
    chosen = choose_backend(None, Q, 'block')
    return next(name for name, backend in BACKENDS.items() if backend is chosen)


class Attend(torch.nn.Module):
    def forward(self, q):
        return attend(q)


def kept(cache):
    """Names of the verdicts that are kept."""
    return sorted(path.name for path in cache.rglob('*') if path.is_file() and path.name != 'lock')


FAULTS = {
    'wrong_scale': 'output: its relative error is',
    'wrong_bias_row': 'output: its relative error is',
    'off_by_one_mask': 'output: its relative error is',
    'forgotten_global_bias': 'output: its relative error is',
    'wrong_gradient': 'q: its relative error is',
    'nan': 'q is not finite',
    'write_past_the_end': 'it wrote outside of its tensors',
    'read_past_the_end': 'output is not finite',
    'varying': 'output differs between two runs',
    'abort': 'the process ended with SIGABRT',
    'segmentation_fault': 'the process ended with SIGSEGV',
    'hang': 'it did not finish within 3 s',
    'exception_while_compiling': 'it raised RuntimeError: no such instruction',
    'slower_than_pytorch': 'forward: it takes .* what it replaces',
}


@pytest.mark.parametrize('fault', FAULTS)
def test_faults_are_rejected(fault, forked, stand_in, cache, caplog, monkeypatch):
    """The verdict is kept, and told once with the problem and a report."""
    if fault == 'hang':
        monkeypatch.setattr(checking, 'PATIENCE', 3)
    stand_in(fault)
    floor = find_floor(Q)
    assert choose() == floor
    verdict = check()
    assert re.match(f'{FAULTS[fault]}.*, in .*Problem\\(hw_shape', verdict.reason)
    assert torch.__version__ in verdict.report and verdict.reason in verdict.report
    assert kept(cache) == ['gpu-float32-32.json']
    begin, result, fallback = caplog.messages
    assert begin.startswith("Checking backend 'gpu' on cpu in float32, head width 32")
    assert verdict.report in result
    assert f'falls back to backend {floor!r}' in fallback and f"'gpu': its check: {verdict.reason}" in fallback

    # as another process would
    monkeypatch.setattr(checking, '_known', {})
    caplog.clear()
    assert choose() == floor
    assert len(forked) == 1 and not caplog.messages


@pytest.mark.parametrize('fault', ['killed', 'out_of_memory'])
def test_what_is_no_fault_of_the_backend_is_not_kept(fault, forked, stand_in, cache, monkeypatch):
    stand_in(fault)
    assert choose() == choose() == find_floor(Q)
    assert len(forked) == 1 and not kept(cache)
    monkeypatch.setattr(checking, '_known', {})
    choose()
    assert len(forked) == 2


def test_sound_backend_passes(stand_in, cache, caplog, monkeypatch):
    """In a process that starts as a user's does."""
    stand_in('sound')
    assert choose() == 'gpu'
    assert kept(cache) == ['gpu-float32-32.json']
    assert len(caplog.messages) == 2 and "'gpu' on cpu in float32, head width 32 passed" in caplog.messages[1]
    monkeypatch.setattr(checking, '_known', {})
    monkeypatch.setattr(checking, 'run', None)
    assert choose() == 'gpu'
    # another width, another verdict
    with pytest.raises(TypeError, match='not callable'):
        choose_backend(None, Q[..., :16], 'block')


def test_widths_have_their_own_verdicts(stand_in, cache, monkeypatch):
    stand_in('sound')
    seconds = {'forward': [1.0, 2.0], 'forward and backward': [1.0, 2.0]}
    write_verdict(folder_of('cpu'), SUBJECT.name, Verdict(seconds=seconds))
    monkeypatch.setattr(checking, 'check', lambda subject, floor: Verdict(f'no verdict on {subject.name}', lasts=False))
    assert choose() == 'gpu'
    assert choose_backend(None, Q[..., :17], 'block') is BACKENDS['gpu']
    assert choose_backend(None, Q[..., :16], 'block') is not BACKENDS['gpu']
    assert choose_backend(None, Q.bfloat16(), 'block') is not BACKENDS['gpu']
    assert {subject.name for subject in checking._known} == {
        f'gpu-{x}' for x in ('float32-32', 'float32-16', 'bfloat16-32')
    }


def test_the_fastest_that_passed_serves(stand_in, monkeypatch):
    stand_in('sound')
    monkeypatch.setitem(BACKENDS, 'other', dataclasses.replace(BACKENDS['gpu']))
    for first, second, fastest in [(1.0, 2.0, 'gpu'), (2.0, 1.0, 'other')]:
        seconds = {'gpu': first, 'other': second}
        found = {name: Verdict(seconds={'forward and backward': [x, 9.0]}) for name, x in seconds.items()}
        monkeypatch.setattr(choice, 'find_or_check', lambda subject, *rest, found=found: found[subject.backend])
        assert choose() == fastest


@pytest.mark.parametrize('mode', ['off', 'force', 'recheck', 'maybe'])
def test_modes(mode, stand_in, monkeypatch, caplog):
    stand_in('sound')
    floor = find_floor(Q)
    seconds = {'forward': [1.0, 2.0], 'forward and backward': [1.0, 2.0]}
    write_verdict(folder_of('cpu'), SUBJECT.name, Verdict(seconds=seconds, time=verdicts.START - 1))
    assert choose() == 'gpu'
    monkeypatch.setattr(checking, '_known', {})
    monkeypatch.setattr(checking, 'check', lambda *args: Verdict('new'))
    monkeypatch.setenv('VIL_MM_GPU_KERNELS', mode)
    if mode == 'maybe':
        with pytest.raises(ValueError, match=r"VIL_MM_GPU_KERNELS='maybe' is not one of \('auto', 'off'"):
            choose()
        return
    assert choose() == {'off': floor, 'force': 'gpu', 'recheck': floor}[mode]
    assert bool(checking._known) == (mode == 'recheck')
    if mode == 'off':
        assert "'gpu': VIL_MM_GPU_KERNELS=off" in caplog.messages[-1]


def attend(q):
    return sliding_window_attention(q, q, q, (3, 4), 2)


def graph_of(f):
    graphs = []
    torch._dynamo.reset()
    torch.compile(f, fullgraph=True, backend=lambda graph, _: graphs.append(graph) or graph)(Q)
    return graphs[0].code


def test_graphs_use_what_is_known(stand_in, forked, caplog):
    """Nothing is checked while a graph is built."""
    stand_in('sound')
    assert 'sliding_window_attention_forward' not in graph_of(attend)
    torch.export.export(Attend(), (Q,))
    with FakeTensorMode() as mode:
        attend(mode.from_tensor(Q))
    assert (
        not forked and len(caplog.messages) == 1 and 'the first call outside of a graph checks it' in caplog.messages[0]
    )
    assert choose() == 'gpu'
    assert len(forked) == 1
    assert 'vil_mm.sliding_window_attention_forward' in graph_of(attend)


def start_four():
    put(dict.__setitem__, 'sound')
    children = []
    for _ in range(4):
        children.append(os.fork())
        if not children[-1]:
            os._exit(choose() != 'gpu')
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4


def test_four_processes_run_one_check(fork, cache, tmp_path):
    code = f'os.environ["XDG_CACHE_HOME"] = {str(cache)!r}; test_self_check.start_four()'
    status = fork(code, tmp_path / 'output')
    output = (tmp_path / 'output').read_text()
    assert status == 0, output
    assert output.count('Checking backend') == output.count('head width 32 passed') == 1


def die_while_checking():
    put(dict.__setitem__, 'sound')
    checking.run = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
    choose()


def test_killed_check_leaves_no_verdict(fork, forked, stand_in, cache, tmp_path):
    code = f'os.environ["XDG_CACHE_HOME"] = {str(cache)!r}; test_self_check.die_while_checking()'
    assert fork(code, tmp_path / 'output') == -signal.SIGKILL
    assert 'Checking backend' in (tmp_path / 'output').read_text() and not kept(cache)
    stand_in('sound')
    assert choose() == 'gpu' and len(forked) == 1


def test_worker_that_never_ends_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(checking, 'TIMEOUT', 1)
    start = time.monotonic()
    assert checking.run([sys.executable, '-c', 'import time; time.sleep(1000)'], tmp_path / 'output') is None
    assert time.monotonic() - start < 500


@pytest.mark.parametrize('place', ['missing', 'file', 'homeless'])
def test_cache_folder_that_cannot_be_used(place, stand_in, forked, tmp_path, monkeypatch):
    """A missing one is made; elsewhere this process remembers the verdict."""
    (tmp_path / 'file').touch()
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / place / 'below'))
    if place == 'homeless':
        monkeypatch.delenv('XDG_CACHE_HOME')
        monkeypatch.setattr(os.path, 'expanduser', lambda path: path)
    stand_in('sound')
    assert choose() == choose() == 'gpu' and len(forked) == 1
    assert kept(tmp_path) == (['file', 'gpu-float32-32.json'] if place == 'missing' else ['file'])


def test_broken_verdict_is_replaced(stand_in, forked, cache):
    write_verdict(folder_of('cpu'), SUBJECT.name, Verdict('old'))
    (file,) = cache.rglob('*.json')
    for text in ('', '{"reason": "old', '[]', '{"unknown": 1}'):
        file.write_text(text)
        assert read_verdict(folder_of('cpu'), SUBJECT.name) is None
    stand_in('sound')
    assert choose() == 'gpu' and read_verdict(folder_of('cpu'), SUBJECT.name).reason is None


@pytest.mark.parametrize('part', verdicts.describe_platform('cpu'))
def test_verdicts_hold_for_one_platform(part, cache, monkeypatch):
    platform = verdicts.describe_platform('cpu')
    write_verdict(folder_of('cpu'), SUBJECT.name, Verdict('old'))
    assert read_verdict(folder_of('cpu'), SUBJECT.name)
    monkeypatch.setattr(verdicts, 'describe_platform', lambda device: platform | {part: 'other'})
    assert read_verdict(folder_of('cpu'), SUBJECT.name) is None


@pytest.mark.parametrize('backend', ['cpu', 'pytorch'])
def test_fences_enclose_what_ops_allocate(backend):
    """Also within ops in C++ and in Python."""
    with Fences(torch.device('cpu')):
        q = Q.detach().requires_grad_()
        output = sliding_window_attention(q, q, q, (3, 4), 2, backend=backend)
        (grad,) = torch.autograd.grad(output, q, torch.ones_like(output))
    assert all(x.storage_offset() >= 4096 for x in (output, grad))


@pytest.mark.parametrize('place', [-1, 12 * 20])
def test_fences_see_one_number(place):
    fences = Fences(torch.device('cpu'))
    x = fences.enclose(Q[0, 0])
    assert torch.equal(x, Q[0, 0]) and fences.are_whole()
    x.as_strided((1,), (1,), x.storage_offset() + place).fill_(0)
    assert not fences.are_whole()


def test_backend_of_environment(monkeypatch):
    monkeypatch.setenv('VIL_MM_BACKEND', 'reference')
    assert choose() == 'reference'
    assert choose_backend('cpu', Q, 'block') is BACKENDS['cpu']
    monkeypatch.setenv('VIL_MM_BACKEND', 'cuda')
    with pytest.raises(ValueError, match=r"VIL_MM_BACKEND='cuda' cannot run: "):
        choose()
    monkeypatch.setenv('VIL_MM_BACKEND', 'longformerhand')
    with pytest.raises(ValueError, match=r"VIL_MM_BACKEND='longformerhand' is not one of .*'reference'"):
        choose()


def test_by_hand(stand_in, forked, capsys, monkeypatch):
    arguments = ['--device', 'cpu', '--precisions', 'float32', '--widths', '32']
    for name, status, result in [('nan', 1, 'did not pass: q is not finite'), ('sound', 0, 'passed, times as fast')]:
        stand_in(name)
        # as in a process of its own: it checks again
        monkeypatch.setattr(checking, '_known', {})
        monkeypatch.setattr(verdicts, 'START', time.time())
        assert main(arguments) == status
        lines = capsys.readouterr().out.splitlines()
        assert re.match(f'gpu +float32 +32  {result}', lines[-1])
    assert len(forked) == 2


def test_report_of_the_environment(stand_in, capsys, monkeypatch):
    """It checks nothing."""
    stand_in('sound')
    seconds = {'forward': [1.0, 2.0], 'forward and backward': [1.0, 3.0]}
    write_verdict(folder_of('cpu'), SUBJECT.name, Verdict(seconds=seconds))
    write_verdict(folder_of('cpu'), 'gpu-bfloat16-64', Verdict('it is wrong'))
    monkeypatch.setattr(checking, 'check', None)
    assert describe_verdicts('gpu', 'cpu') == [
        'float32, head width 32: passed, times as fast as plain PyTorch: forward 2.0, forward and backward 3.0',
        'bfloat16, head width 64: did not pass: it is wrong',
    ]
    floor = find_floor(Q)
    chosen = describe_choice(torch.device('cpu'), torch.float32)
    assert (
        chosen == f'torch.float32: {floor} up to head width 16, gpu up to head width 32, {floor} up to head width 128'
    )
    monkeypatch.setenv('VIL_MM_BACKEND', 'cuda')
    text = describe_backends()
    assert '  cpu: not there: the test\n' in text and '  VIL_MM_BACKEND: cuda\n' in text
    assert "chosen on cpu in torch.float16: none, VIL_MM_BACKEND='cuda' cannot run" in text


INTERPRETED = """
import torch
from vil_mm.ops.backends import BACKENDS
from vil_mm.ops.self_check import judge
judge.REPEATS = 2
triton = BACKENDS['triton']
try:
    judge.examine(
        triton.run, BACKENDS['pytorch'].run, triton.refuse, torch.device('cpu'), {precision!r}, 16, begin=print
    )
except judge.RejectedError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize('precision', ['float32', 'float16'])
@pytest.mark.skipif(bool(BACKENDS['triton'].unavailable), reason=str(BACKENDS['triton'].unavailable))
def test_triton_passes_in_its_interpreter(precision):
    """All but the test of its speed."""
    lines = run_tool('-c', INTERPRETED.format(precision=precision), env={'TRITON_INTERPRET': '1'}).stdout.splitlines()
    assert lines[-2].startswith('the speed on 2 times Problem')
    assert re.match('forward: it takes .* what it replaces', lines[-1])
