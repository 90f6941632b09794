"""Linear layers by oneDNN, against PyTorch's."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from vil_mm.ops import linear, linear_layer

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason='PyTorch has no oneDNN')
OP = torch.ops.vil_mm.linear.default
TOKENS = {
    'contiguous': lambda: torch.randn(3, 7, 5, 48),
    'with gaps between rows': lambda: torch.randn(3, 7, 5, 50)[..., 1:-1],
    'with gaps between images': lambda: torch.randn(3, 9, 5, 48)[:, 1:-1],
    'transposed': lambda: torch.randn(48, 5, 7, 3).permute(3, 2, 1, 0),
    'expanded': lambda: torch.randn(3, 1, 1, 48).expand(3, 7, 5, 48),
    'a single one': lambda: torch.randn(1, 48),
    'none': lambda: torch.randn(2, 0, 48),
}
WEIGHTS = {
    'contiguous': lambda size: torch.randn(23, size),
    'transposed': lambda size: torch.randn(size, 23).T,
    'with gaps': lambda size: torch.randn(25, size + 2)[1:-1, 1:-1],
}
BIASES = {
    'contiguous': lambda: torch.randn(23),
    'strided': lambda: torch.randn(46)[::2],
    'expanded': lambda: torch.randn(1).expand(23),
    'none': lambda: None,
}


def onednn(x, weight, bias=None):
    return OP(x, weight, bias)


@pytest.fixture
def slow_mkl(monkeypatch):
    """A processor on which MKL is slow, and no choice of a backend."""
    monkeypatch.setattr(linear_layer, '_mkl_lacks_avx512', lambda: True)
    monkeypatch.delenv('VIL_MM_BACKEND', raising=False)


def results_of(run, tensors, grad_out):
    inputs = [x.detach().requires_grad_() for x in tensors if x is not None]
    output = run(*inputs)
    return [output.detach(), *torch.autograd.grad(output, inputs, grad_out)]


def check(tensors):
    """Results and gradients have at most twice the error of PyTorch's."""
    grad_out = torch.randn(*tensors[0].shape[:-1], len(tensors[1]))
    ours, plain = (results_of(run, tensors, grad_out) for run in (onednn, F.linear))
    exact = results_of(F.linear, [None if t is None else t.double() for t in tensors], grad_out.double())
    assert ours[0].is_contiguous()
    for result, other, truth in zip(ours, plain, exact):
        last_bit = torch.finfo(torch.float32).eps * truth.norm() / 2
        assert (result - truth).norm() <= max(2 * (other - truth).norm(), last_bit)


@pytest.mark.parametrize('bias', BIASES)
@pytest.mark.parametrize('weight', WEIGHTS)
@pytest.mark.parametrize('x', TOKENS)
def test_results_and_gradients(x, weight, bias):
    check((TOKENS[x](), WEIGHTS[weight](48), BIASES[bias]()))


@pytest.mark.parametrize('tokens, inputs, outputs', [(3140, 192, 576), (1568, 384, 1536), (196, 3072, 768)])
def test_long_sums(tokens, inputs, outputs):
    check((torch.randn(tokens, inputs), torch.randn(outputs, inputs), torch.randn(outputs)))


def test_second_derivatives():
    inputs = [torch.randn(shape, requires_grad=True) for shape in ((2, 5, 8), (6, 8), (6,))]
    results = []
    for run in (onednn, F.linear):
        first = torch.autograd.grad(run(*inputs).square().sum(), inputs, create_graph=True)
        results.append(torch.autograd.grad(sum(x.square().sum() for x in first), inputs))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize('bias', [torch.randn(6), None])
@pytest.mark.parametrize('needed', [(True, True, True), (False, True, True), (True, False, False)])
def test_opcheck(needed, bias):
    tensors = torch.randn(2, 5, 8), torch.randn(6, 8), bias
    arguments = [None if x is None else x.clone().requires_grad_(need) for x, need in zip(tensors, needed)]
    torch.library.opcheck(OP, arguments)


class Recorder(TorchDispatchMode):
    """Lists the ops that run, and their arguments."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls.append((func.name(), args))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize('size', [48, 1100])
@pytest.mark.parametrize('kind', WEIGHTS)
def test_layout_of_weights(kind, size):
    """OneDNN is slow unless weights are dense."""
    with Recorder() as recorder:
        linear_layer._multiply(torch.randn(30, size), WEIGHTS[kind](size), None)
    products = [(name, args) for name, args in recorder.calls if name.startswith('mkldnn::_linear_pointwise')]
    weights = [args[2 if name.endswith('binary') else 1] for name, args in products]
    assert len(weights) == -(-size // linear_layer.TERMS_PER_SUM)
    assert all(one.is_contiguous() or one.T.is_contiguous() for one in weights)


@pytest.mark.parametrize('frozen', [0, 1])
def test_saves_what_it_needs(frozen):
    """Like PyTorch's, so that frozen layers keep no inputs, and inputs may change that no gradient needs."""
    tensors = [torch.randn(5, 8), torch.randn(6, 8)]
    tensors[1 - frozen].requires_grad_()
    needed = [x.detach().clone() for x in tensors]
    output = OP(*tensors, None)
    with torch.no_grad():
        tensors[1 - frozen].add_(1)
    output.sum().backward()
    expected = needed[frozen].sum(0)
    torch.testing.assert_close(tensors[1 - frozen].grad, expected.expand_as(tensors[1 - frozen]))


def test_batched_gradients():
    x, weight = torch.randn(5, 8, requires_grad=True), torch.randn(6, 8, requires_grad=True)
    grads = torch.randn(3, 5, 6)
    ours, theirs = (
        torch.autograd.grad(run(x, weight, None), (x, weight), grads, is_grads_batched=True) for run in (OP, F.linear)
    )
    torch.testing.assert_close(ours, theirs)


CPUS = {
    'AMD EPYC': (dict(cpu_name='AMD EPYC', avx512_f=True), True),
    'older AMD': (dict(cpu_name='AMD EPYC', avx512_f=False), False),
    'Intel': (dict(cpu_name='Intel Xeon', avx512_f=True), False),
    'ARM': (dict(architecture='arm64'), False),
}


@pytest.mark.parametrize('capabilities, expected', CPUS.values(), ids=list(CPUS))
def test_where_mkl_is_slow(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: capabilities, raising=False)
    monkeypatch.setattr(torch.backends.mkl, 'is_available', lambda: True)
    assert linear_layer._mkl_lacks_avx512.__wrapped__() == expected
    monkeypatch.delattr(torch.cpu, 'get_capabilities')
    assert not linear_layer._mkl_lacks_avx512.__wrapped__()


def runs_op(x, weight, bias=None):
    with Recorder() as recorder:
        output = linear(x, weight, bias)
    torch.testing.assert_close(output, F.linear(x, weight, bias))
    return 'vil_mm::linear' in dict(recorder.calls)


class Other(torch.Tensor):
    """A tensor with a type of its own, as quantized weights have."""


@pytest.mark.filterwarnings('ignore:TF32 acceleration')
def test_who_multiplies(monkeypatch, slow_mkl):
    """OneDNN does, where MKL is slow and nothing speaks against it."""
    x, weight, bias = torch.randn(2, 200, 96), torch.randn(128, 96), torch.randn(128)
    assert runs_op(x, weight, bias)
    assert runs_op(x, nn.Parameter(weight))
    assert not runs_op(x[:, :20], weight, bias)
    assert not runs_op(x.double(), weight.double(), bias.double())
    assert not runs_op(x.bfloat16(), weight.bfloat16())
    assert not runs_op(x, weight.as_subclass(Other))
    assert not runs_op(torch.randn(2**15), torch.randn(2**7, 2**15))
    with torch.backends.mkldnn.flags(enabled=False):
        assert not runs_op(x, weight, bias)
    with torch.autocast('cpu', torch.bfloat16):
        assert not runs_op(x, weight, bias)
    with monkeypatch.context() as patch:
        patch.setenv('VIL_MM_BACKEND', 'pytorch')
        assert not runs_op(x, weight, bias)
    monkeypatch.setattr(linear_layer, '_mkl_lacks_avx512', lambda: False)
    assert not runs_op(x, weight, bias)


@pytest.mark.parametrize(
    'x, bias', [(torch.randn(400, 100), None), (torch.randn(400, 96), torch.randn(127)), (torch.randn(400, 96), 'meta')]
)
def test_what_does_not_fit(slow_mkl, x, bias):
    """PyTorch says so."""
    with pytest.raises(RuntimeError, match=r'shape|size|meta'):
        linear(x, torch.randn(128, 96), torch.randn(128, device='meta') if bias == 'meta' else bias)


class Layer(nn.Module):
    def forward(self, *tensors):
        return linear(*tensors)


def test_graphs(slow_mkl):
    """Programs hold PyTorch's own op; one compiled graph serves any number of tokens, gradients included."""
    tensors = torch.randn(2, 200, 96), torch.randn(128, 96), torch.randn(128)
    ops = {str(node.target) for node in torch.export.export(Layer(), tensors).graph.nodes if node.op == 'call_function'}
    assert ops == {'aten.linear.default'}
    assert 'aten::linear' in str(torch.jit.trace(Layer(), tensors).graph)
    torch.compiler.reset()
    compiled = torch.compile(linear, backend='aot_eager', fullgraph=True, dynamic=True)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for length in (12, 200, 31):
            tensors = torch.randn(2, length, 96), *tensors[1:]
            grad_out = torch.randn(2, length, 128)
            torch.testing.assert_close(
                results_of(compiled, tensors, grad_out), results_of(F.linear, tensors, grad_out), rtol=1e-4, atol=1e-4
            )


def test_flops():
    tensors = [x.requires_grad_() for x in (torch.randn(2, 200, 96), torch.randn(128, 96), torch.randn(128))]
    counts = []
    for run in (onednn, F.linear):
        with FlopCounterMode(display=False) as counter:
            run(*tensors).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts == [6 * 2 * 200 * 96 * 128] * 2


@pytest.mark.parametrize('in_graph', [False, True])
def test_transforms(slow_mkl, in_graph):
    """Derivatives are right, although PyTorch would take those of an op in forward mode for zeros."""
    torch.compiler.reset()
    build = partial(torch.compile, backend='aot_eager', fullgraph=True) if in_graph else lambda function: function
    x, weight, direction = torch.randn(400, 96), torch.randn(128, 96), torch.randn(128, 96)
    derive = build(lambda weight: torch.func.jvp(lambda weight: linear(x, weight), (weight,), (direction,))[1])
    torch.testing.assert_close(derive(weight), F.linear(x, direction), rtol=1e-4, atol=1e-4)
    derive = build(torch.func.grad(lambda weight: linear(x, weight).sum()))
    torch.testing.assert_close(derive(weight), x.sum(0).expand(128, -1), rtol=1e-4, atol=1e-4)
    with forward_ad.dual_level():
        output = build(lambda weight: linear(x, weight))(forward_ad.make_dual(weight, direction))
        tangent = forward_ad.unpack_dual(output).tangent
        torch.testing.assert_close(tangent, F.linear(x, direction), rtol=1e-4, atol=1e-4)
