"""Whether the op that the compiled code asks knows that float32 may be computed in TF32."""

import torch

from tests.conftest import run_tool

OLDER_TF32_SETTINGS = [
    ('pass', False),
    ('torch.backends.cuda.matmul.allow_tf32 = True', True),
    ('torch.backends.cuda.matmul.allow_tf32 = False', False),
    ("torch.set_float32_matmul_precision('high')", True),
    ("torch.set_float32_matmul_precision('highest')", False),
]
# where these differ from the older ones, PyTorch's older getter raises an error
NEWER_TF32_SETTINGS = [
    ("torch.backends.cuda.matmul.fp32_precision = 'tf32'", True),
    ("torch.backends.cuda.matmul.fp32_precision = 'ieee'", False),
    ("torch.backends.cuda.matmul.fp32_precision = 'none'; torch.backends.fp32_precision = 'tf32'", True),
    ("torch.backends.fp32_precision = 'ieee'", False),
]
TF32 = """
import torch
import vil_mm.ops
for setting, expected in {settings!r}:
    exec(setting)
    assert torch.ops.vil_mm.allows_tf32() == expected, setting
"""


def test_tf32():
    """From PyTorch's older settings and from its newer ones."""
    newer = NEWER_TF32_SETTINGS if hasattr(torch.backends, 'fp32_precision') else []
    run_tool('-c', TF32.format(settings=OLDER_TF32_SETTINGS + newer))
