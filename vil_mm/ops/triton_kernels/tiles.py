"""What the kernels share: their arguments, tiles of tokens, and scores."""

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from .. import places as place_lists
from ..places import PlaceList

HIDDEN, TILE = tl.constexpr(place_lists.HIDDEN), tl.constexpr(place_lists.TILE)


class Tokens(NamedTuple):
    """A tensor ``(N, heads, tokens, d)``, or biases ``(heads, places, places)``, whose last stride is 1."""

    data: Tensor
    strides: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> 'Tokens':
        """Describe a tensor."""
        return cls(tensor, tensor.stride()[:-1])


class Inputs(NamedTuple):
    """What attends to what, with biases for each pair of places."""

    q: Tokens
    k: Tokens
    v: Tokens
    biases: Tokens


class Saved(NamedTuple):
    """What the backward knows of each query.

    That is its output's gradient, the logarithm by which its scores become
    weights, and the mean of its value gradients.
    """

    grad_out: Tokens
    log_sums: Tensor
    means: Tensor


class Places(NamedTuple):
    """A place list."""

    tokens: Tensor
    places: Tensor
    counts: Tensor
    length: int

    @classmethod
    def of(cls, places: PlaceList) -> 'Places':
        """Describe a place list."""
        return cls(places.tokens, places.places, places.counts, places.tokens.shape[1])


class Sizes(NamedTuple):
    """What else the kernels need to know of a problem."""

    heads: int
    chunks: int
    square: int  # places of a chunk
    neighborhood: int  # places around it
    queries: int
    globals: int
    scale: float
    shift: float  # moves exponents of weights in float32 to about 0, where they are rounded least ...
    unshift: float  # ... which is undone when they have been summed


@triton.jit
def first_token(x, image_head, sizes):
    """Where the tokens of an image and head begin."""
    image, head = (image_head // sizes.heads).to(tl.int64), (image_head % sizes.heads).to(tl.int64)
    return x.data + image * x.strides[0] + head * x.strides[1]


@triton.jit
def tile_pointers(start, tokens, stride, WIDTH: tl.constexpr):
    """Point to the numbers of a tile ``(tokens, WIDTH)``."""
    return start + tokens.to(tl.int64)[:, None] * stride + tl.arange(0, WIDTH)[None, :]


@triton.jit
def tile_mask(tokens, HEAD_WIDTH: tl.constexpr, WIDTH: tl.constexpr):
    """Tell what of a tile is in memory."""
    mask = (tokens >= 0)[:, None]
    if HEAD_WIDTH < WIDTH:
        mask = mask & (tl.arange(0, WIDTH) < HEAD_WIDTH)[None, :]
    return mask


@triton.jit
def load_tile(start, tokens, stride, HEAD_WIDTH: tl.constexpr, WIDTH: tl.constexpr):
    """Load a tile; what is not in memory is zero."""
    return tl.load(tile_pointers(start, tokens, stride, WIDTH), mask=tile_mask(tokens, HEAD_WIDTH, WIDTH), other=0.0)


@triton.jit
def store_tile(start, tokens, stride, values, HEAD_WIDTH: tl.constexpr, WIDTH: tl.constexpr):
    """Store a tile."""
    values = values.to(start.dtype.element_ty)
    tl.store(tile_pointers(start, tokens, stride, WIDTH), values, mask=tile_mask(tokens, HEAD_WIDTH, WIDTH))


@triton.jit
def load_biases(biases, head, rows, columns):
    """Load the biases of a tile, which lie side by side in memory for its rows."""
    start = biases.data + head.to(tl.int64) * biases.strides[0]
    return tl.load((start + rows)[:, None] + (columns * biases.strides[1])[None, :])


@triton.jit
def product(rows, columns, PRECISION: tl.constexpr):
    """Multiply all rows of a tile with all rows of another."""
    return tl.dot(rows, tl.trans(columns), input_precision=PRECISION)


@triton.jit
def exponential(scores, UNIT: tl.constexpr):
    """Compute exponentials of scores in this unit, for float32 to the last bits, which the GPU's instruction lacks."""
    if UNIT != 1:
        return tl.exp2(scores)
    scores = tl.where(scores < -200.0, -200.0, scores)  # nothing is left of them, and infinity would lead to NaN
    power = tl.floor(scores * 1.4426950408889634 + 0.5)
    rest = (scores - power * 0.693359375) - power * -2.12194440e-4  # the first product is exact
    return tl.exp2(rest * 1.4426950408889634) * tl.exp2(power)
