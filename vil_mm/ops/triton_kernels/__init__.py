"""The op as Triton kernels, for GPUs. This file does not import Triton, which is optional."""

import importlib.util
import os
import shutil

import torch
from torch import Tensor
from torch.torch_version import TorchVersion

#: It comes with Triton 3.3, the first whose kernels take named tuples.
OLDEST_TORCH = '2.7'
#: The widest heads that the kernels support.
MAX_HEAD_WIDTH = 128


def is_interpreted() -> bool:
    """Tell whether the kernels run in Triton's interpreter, on the CPU."""
    return os.environ.get('TRITON_INTERPRET') == '1'


def why_unavailable() -> str | None:
    """Say why the kernels cannot run here at all, or None."""
    if importlib.util.find_spec('triton') is None:
        return 'Triton is not installed: it comes with PyTorch for GPUs on Linux, and as `triton-windows` for Windows'
    if TorchVersion(torch.__version__) < OLDEST_TORCH:
        return f'the Triton of PyTorch {torch.__version__} is too old, PyTorch must be at least {OLDEST_TORCH}'
    if not is_interpreted() and not any(map(shutil.which, filter(None, [os.environ.get('CC'), 'gcc', 'clang', 'cc']))):
        return 'Triton finds no C compiler: install gcc or clang, or name one in the environment variable CC'
    return None


def refuse(q: Tensor, mask: str) -> str | None:
    """Say why the kernels cannot run on tensors like ``q`` with this mask, or None."""
    devices = ('cpu',) if is_interpreted() else ('cuda', 'xpu')
    if q.device.type not in devices:
        return f'q is on {q.device}, must be on {" or ".join(devices)}'
    if q.dtype == torch.float64:
        return f'q has dtype {q.dtype}, must be float32, float16 or bfloat16'
    if is_interpreted() and q.dtype == torch.bfloat16:
        return f"q has dtype {q.dtype}, which Triton's interpreter multiplies wrongly"
    if q.shape[-1] > MAX_HEAD_WIDTH:
        return f'q has shape {tuple(q.shape)}, its head width must be at most {MAX_HEAD_WIDTH}'
    return None
