"""The forward pass: a program has a tile of a chunk's queries and runs over the keys that they see."""

import triton
import triton.language as tl

from .tiles import exponential, first_token, load_biases, load_tile, product, store_tile


@triton.jit
def softmax_step(scores, values, maximum, weight, sums, UNIT: tl.constexpr, PRECISION: tl.constexpr):
    """Take keys into the maximum so far, and into the weight and the sums relative to it."""
    largest = tl.maximum(maximum, tl.max(scores, 1))
    weights = exponential(scores - largest[:, None], UNIT)
    correction = exponential(maximum - largest, UNIT)
    weight = weight * correction + tl.sum(weights, 1)
    sums = tl.dot(weights.to(values.dtype), values, sums * correction[:, None], input_precision=PRECISION)
    return largest, weight, sums


@triton.jit(do_not_specialize=['sizes'])
def forward_kernel(
    inputs,
    out,
    lse,
    square,
    keys,
    sizes,
    HEAD_WIDTH: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    UNIT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Compute the output and the log-sum-exp of a tile of queries."""
    tiles = sizes.square // ROWS
    tile, program = tl.program_id(0) % tiles, tl.program_id(0) // tiles
    chunk, image_head = program % sizes.chunks, program // sizes.chunks
    places = tile * ROWS + tl.arange(0, ROWS)
    tokens = tl.load(square + chunk * sizes.square + places)
    if tl.max(tokens, 0) < 0:
        return
    rows = load_tile(first_token(inputs.q, image_head, sizes), tokens, inputs.q.strides[2], HEAD_WIDTH, WIDTH)
    k_start, v_start = first_token(inputs.k, image_head, sizes), first_token(inputs.v, image_head, sizes)

    maximum = tl.full([ROWS], -3e38, tl.float32)  # finite, since a tile's scores can all be minus infinity
    weight = tl.zeros([ROWS], tl.float32)
    sums = tl.zeros([ROWS, WIDTH], tl.float32)
    for start in range(0, tl.load(keys.counts + chunk), COLUMNS):
        listed = chunk * keys.length + start + tl.arange(0, COLUMNS)
        columns = tl.load(keys.tokens + listed)
        bias = load_biases(inputs.biases, image_head % sizes.heads, places, tl.load(keys.places + listed))
        key_tile = load_tile(k_start, columns, inputs.k.strides[2], HEAD_WIDTH, WIDTH)
        scores = product(rows, key_tile, PRECISION) * (sizes.scale * UNIT) + bias
        value_tile = load_tile(v_start, columns, inputs.v.strides[2], HEAD_WIDTH, WIDTH)
        maximum, weight, sums = softmax_step(scores, value_tile, maximum, weight, sums, UNIT, PRECISION)

    sums = sums / weight[:, None]
    store_tile(first_token(out, image_head, sizes), tokens, out.strides[2], sums, HEAD_WIDTH, WIDTH)
    lse_start = lse + image_head.to(tl.int64) * sizes.queries
    log_sum = maximum / UNIT + tl.log(weight.to(lse.dtype.element_ty))
    tl.store(lse_start + tokens, log_sum, mask=tokens >= 0)
