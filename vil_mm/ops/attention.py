"""Attention from each query to each key."""

from typing import Annotated

import torch.nn.functional as F
from torch import Tensor

from ..arguments import Finite, Rate, check_arguments, dims
from .backends import BACKENDS
from .checks import DTYPES, MAX_WINDOW_SIZE
from .choice import backend_of_environment
from .graphs import needs_plain_ops
from .sliding_window_attention import sliding_window_attention

Queries = Annotated[Tensor, dims('N', 'heads', 'L', 'd')]
Keys = Annotated[Tensor, dims('N', 'heads', 'S', 'd')]


def attends_in_one_window(q: Tensor, window_size: int) -> bool:
    """Tell whether the compiled kernels of the sliding window serve for full attention, with one window for all."""
    fits = 1 <= window_size <= MAX_WINDOW_SIZE and q.dtype in DTYPES
    may_run = backend_of_environment() in (None, 'cpu') and BACKENDS['cpu'].can_run(q)[0]
    return fits and may_run and not needs_plain_ops()


@check_arguments
def attend(
    q: Queries,
    k: Keys,
    v: Keys,
    bias: Annotated[Tensor, dims('1', 'heads', 'L', 'S')] | None = None,
    dropout_p: Rate = 0.0,
    scale: Finite | None = None,
) -> Tensor:
    """Attend from each query to each key, with the result of PyTorch's ``scaled_dot_product_attention``.

    On the CPU, this takes other ways where they are faster. Without a bias,
    the compiled kernels of the sliding window attend in one window that holds
    all tokens, in half of the time in float32. With a bias, it multiplies
    matrices one after another: on windows of tens of tokens, PyTorch's fused
    kernel takes 1.5 times as long in inference and 1.1 times in training.

    Args:
        q (Tensor): ``(N, heads, L, d)``.
        k (Tensor): ``(N, heads, S, d)``.
        v (Tensor): ``(N, heads, S, d)``.
        bias (Tensor, optional): ``(1, heads, L, S)``, added to the scaled
            scores. Defaults to None.
        dropout_p (float): Dropout rate of the attention weights. Defaults to 0.
        scale (float, optional): Factor of the scores. Defaults to None:
            ``d ** -0.5``.

    Returns:
        Tensor: ``(N, heads, L, d)``.
    """
    length, num_global = q.shape[2], k.shape[2] - q.shape[2]
    few_global = 0 <= num_global <= length
    if bias is None and not dropout_p and few_global and attends_in_one_window(q, length):
        return sliding_window_attention(
            q, k, v, (1, length), length, num_global_tokens=num_global, neighbors='self', scale=scale, backend='cpu'
        )
    if bias is None or q.device.type != 'cpu':
        return F.scaled_dot_product_attention(q, k, v, bias, dropout_p=dropout_p, scale=scale)
    scores = (q * (q.shape[-1] ** -0.5 if scale is None else scale)) @ k.mT
    return F.dropout(scores.add_(bias).softmax(dim=-1), dropout_p).to(v.dtype) @ v
