"""The backward pass. No two programs add to the same memory, so that results are the same in every run.

Weights are computed anew from the scores and the forward's log-sum-exp.
"""

import triton
import triton.language as tl

from .tiles import HIDDEN, TILE, exponential, first_token, load_biases, load_tile, product, store_tile


@triton.jit(do_not_specialize=['sizes'])
def backward_queries_kernel(
    inputs,
    saved,
    out,
    lse,
    grad_q,
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
    """Compute the gradients of the queries, and what the other kernels need to know of each query.

    That is the logarithm by which its scores become weights, and the mean of its value gradients. A program has a tile
    of a chunk's queries and runs over the keys that they see.
    """
    tiles = sizes.square // ROWS
    tile, program = tl.program_id(0) % tiles, tl.program_id(0) // tiles
    chunk, image_head = program % sizes.chunks, program // sizes.chunks
    places = tile * ROWS + tl.arange(0, ROWS)
    tokens = tl.load(square + chunk * sizes.square + places)
    if tl.max(tokens, 0) < 0:
        return
    rows = load_tile(first_token(inputs.q, image_head, sizes), tokens, inputs.q.strides[2], HEAD_WIDTH, WIDTH)
    grad_rows = load_tile(
        first_token(saved.grad_out, image_head, sizes), tokens, saved.grad_out.strides[2], HEAD_WIDTH, WIDTH
    )
    of_tokens = image_head.to(tl.int64) * sizes.queries + tokens
    log_sum = (tl.load(lse + of_tokens, mask=tokens >= 0, other=0.0) * UNIT - sizes.shift).to(tl.float32)
    tl.store(saved.log_sums + of_tokens, log_sum, mask=tokens >= 0)
    k_start, v_start = first_token(inputs.k, image_head, sizes), first_token(inputs.v, image_head, sizes)

    if UNIT == 1:
        # computed from the output, the mean would not cancel the errors of what it is the mean of
        mean = tl.zeros([ROWS], tl.float32)
    else:
        out_rows = load_tile(first_token(out, image_head, sizes), tokens, out.strides[2], HEAD_WIDTH, WIDTH)
        mean = tl.sum(grad_rows.to(tl.float32) * out_rows.to(tl.float32), 1)
        tl.store(saved.means + of_tokens, mean, mask=tokens >= 0)
    sums = tl.zeros([ROWS, WIDTH], tl.float32)
    total, weighted = tl.zeros([ROWS], tl.float32), tl.zeros([ROWS], tl.float32)
    for sweep in tl.static_range(0 if UNIT == 1 else 1, 2):
        for start in range(0, tl.load(keys.counts + chunk), COLUMNS):
            listed = chunk * keys.length + start + tl.arange(0, COLUMNS)
            columns = tl.load(keys.tokens + listed)
            bias = load_biases(inputs.biases, image_head % sizes.heads, places, tl.load(keys.places + listed))
            key_tile = load_tile(k_start, columns, inputs.k.strides[2], HEAD_WIDTH, WIDTH)
            value_tile = load_tile(v_start, columns, inputs.v.strides[2], HEAD_WIDTH, WIDTH)
            scores = product(rows, key_tile, PRECISION) * (sizes.scale * UNIT) + bias
            weights = exponential(scores - log_sum[:, None], UNIT)
            value_grads = product(grad_rows, value_tile, PRECISION)
            if sweep == 0:
                total += tl.sum(weights, 1)
                weighted += tl.sum(weights * value_grads, 1)
            else:
                grads = (weights * (value_grads - mean[:, None])).to(key_tile.dtype)
                sums = tl.dot(grads, key_tile, sums, input_precision=PRECISION)
        if sweep == 0:
            mean = weighted / total
            tl.store(saved.means + of_tokens, mean, mask=tokens >= 0)
    grad_start = first_token(grad_q, image_head, sizes)
    store_tile(grad_start, tokens, grad_q.strides[2], sums * (sizes.scale * sizes.unshift), HEAD_WIDTH, WIDTH)


@triton.jit
def key_gradients_step(
    inputs,
    saved,
    sizes,
    image_head,
    key_tile,
    value_tile,
    bias,
    tokens,
    key_sums,
    value_sums,
    HEAD_WIDTH: tl.constexpr,
    WIDTH: tl.constexpr,
    UNIT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Add what comes from some queries. Rows are keys and columns queries, so that no product needs a transpose."""
    query_tile = load_tile(first_token(inputs.q, image_head, sizes), tokens, inputs.q.strides[2], HEAD_WIDTH, WIDTH)
    grad_start = first_token(saved.grad_out, image_head, sizes)
    grad_tile = load_tile(grad_start, tokens, saved.grad_out.strides[2], HEAD_WIDTH, WIDTH)
    of_tokens = image_head.to(tl.int64) * sizes.queries + tokens
    log_sum = tl.load(saved.log_sums + of_tokens, mask=tokens >= 0, other=float('inf'))
    mean = tl.load(saved.means + of_tokens, mask=tokens >= 0, other=0.0)
    scores = product(key_tile, query_tile, PRECISION) * (sizes.scale * UNIT) + bias
    weights = exponential(scores - log_sum[None, :], UNIT)
    value_sums = tl.dot(weights.to(grad_tile.dtype), grad_tile, value_sums, input_precision=PRECISION)
    grads = weights * (product(value_tile, grad_tile, PRECISION) - mean[None, :])
    key_sums = tl.dot(grads.to(query_tile.dtype), query_tile, key_sums, input_precision=PRECISION)
    return key_sums, value_sums, grads


@triton.jit(do_not_specialize=['sizes'])
def backward_keys_kernel(
    inputs,
    saved,
    grad_k,
    grad_v,
    square,
    seers,
    sizes,
    HEAD_WIDTH: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    UNIT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Gradients of the grid's keys and values: a program has a tile of a chunk's keys and runs over their seers."""
    tiles = sizes.square // ROWS
    tile, program = tl.program_id(0) % tiles, tl.program_id(0) // tiles
    chunk, image_head = program % sizes.chunks, program // sizes.chunks
    places = tile * ROWS + tl.arange(0, ROWS)
    rows = tl.load(square + chunk * sizes.square + places)
    if tl.max(rows, 0) < 0:
        return
    rows = tl.where(rows >= 0, rows + sizes.globals, rows)
    key_tile = load_tile(first_token(inputs.k, image_head, sizes), rows, inputs.k.strides[2], HEAD_WIDTH, WIDTH)
    value_tile = load_tile(first_token(inputs.v, image_head, sizes), rows, inputs.v.strides[2], HEAD_WIDTH, WIDTH)

    key_sums = tl.zeros([ROWS, WIDTH], tl.float32)
    value_sums = tl.zeros([ROWS, WIDTH], tl.float32)
    for start in range(0, tl.load(seers.counts + chunk), COLUMNS):
        listed = chunk * seers.length + start + tl.arange(0, COLUMNS)
        tokens = tl.load(seers.tokens + listed)
        bias = load_biases(inputs.biases, image_head % sizes.heads, places, tl.load(seers.places + listed))
        key_sums, value_sums, _ = key_gradients_step(
            inputs,
            saved,
            sizes,
            image_head,
            key_tile,
            value_tile,
            bias,
            tokens,
            key_sums,
            value_sums,
            HEAD_WIDTH,
            WIDTH,
            UNIT,
            PRECISION,
        )
    key_sums *= sizes.scale * sizes.unshift
    value_sums *= sizes.unshift
    store_tile(first_token(grad_k, image_head, sizes), rows, grad_k.strides[2], key_sums, HEAD_WIDTH, WIDTH)
    store_tile(first_token(grad_v, image_head, sizes), rows, grad_v.strides[2], value_sums, HEAD_WIDTH, WIDTH)


@triton.jit(do_not_specialize=['sizes', 'per_part'])
def backward_globals_kernel(
    inputs,
    saved,
    k_parts,
    v_parts,
    bias_parts,
    sizes,
    per_part,
    HEAD_WIDTH: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    UNIT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Parts of the gradients of the global tokens' keys, values and biases.

    A program has a tile of global tokens and a run of queries.
    """
    tiles, parts = tl.cdiv(sizes.globals, ROWS), tl.cdiv(sizes.queries, per_part)
    tile, program = tl.program_id(0) % tiles, tl.program_id(0) // tiles
    part, image_head = program % parts, program // parts
    rows = tile * ROWS + tl.arange(0, ROWS)
    rows = tl.where(rows < sizes.globals, rows, -1)
    biases = inputs.biases.data + (image_head % sizes.heads).to(tl.int64) * inputs.biases.strides[0]
    bias = tl.load(biases + rows * inputs.biases.strides[1], mask=rows >= 0, other=0.0)  # of the first place, as of all
    key_tile = load_tile(first_token(inputs.k, image_head, sizes), rows, inputs.k.strides[2], HEAD_WIDTH, WIDTH)
    value_tile = load_tile(first_token(inputs.v, image_head, sizes), rows, inputs.v.strides[2], HEAD_WIDTH, WIDTH)

    key_sums = tl.zeros([ROWS, WIDTH], tl.float32)
    value_sums = tl.zeros([ROWS, WIDTH], tl.float32)
    bias_sums = tl.zeros([ROWS], tl.float32)
    end = tl.minimum((part + 1) * per_part, sizes.queries)
    for start in range(part * per_part, end, COLUMNS):
        tokens = start + tl.arange(0, COLUMNS)
        tokens = tl.where(tokens < end, tokens, -1)
        key_sums, value_sums, grads = key_gradients_step(
            inputs,
            saved,
            sizes,
            image_head,
            key_tile,
            value_tile,
            bias[:, None],
            tokens,
            key_sums,
            value_sums,
            HEAD_WIDTH,
            WIDTH,
            UNIT,
            PRECISION,
        )
        bias_sums += tl.sum(grads, 1)
    first = (image_head * parts + part).to(tl.int64) * sizes.globals
    store_tile(
        k_parts + first * HEAD_WIDTH, rows, HEAD_WIDTH, key_sums * (sizes.scale * sizes.unshift), HEAD_WIDTH, WIDTH
    )
    store_tile(v_parts + first * HEAD_WIDTH, rows, HEAD_WIDTH, value_sums * sizes.unshift, HEAD_WIDTH, WIDTH)
    tl.store(bias_parts + first + rows, bias_sums * sizes.unshift, mask=rows >= 0)


@triton.jit(do_not_specialize=['sizes', 'hidden_place', 'batch', 'first_head', 'num_parts'])
def backward_table_kernel(
    inputs,
    saved,
    parts,
    square,
    neighborhood,
    visits,
    hidden_place,
    sizes,
    batch,
    first_head,
    num_parts,
    HEAD_WIDTH: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    UNIT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Parts of the gradient of the bias table, for each place of a query in a chunk and each of a key around it.

    A program has a tile of both, which it sums over some of the images and chunks.
    """
    key_tiles, query_tiles = sizes.neighborhood // COLUMNS, sizes.square // ROWS
    program = tl.program_id(0)
    key_tile_index, program = program % key_tiles, program // key_tiles
    query_tile_index, program = program % query_tiles, program // query_tiles
    part, head = program % num_parts, first_head + program // num_parts
    row_places = query_tile_index * ROWS + tl.arange(0, ROWS)
    column_places = key_tile_index * COLUMNS + tl.arange(0, COLUMNS)
    visited = key_tile_index * COLUMNS // TILE
    visitors = tl.load(visits.counts + visited)
    visits_start = visits.tokens + visited * visits.length
    # the same in all chunks; filling of the neighborhood is hidden
    bias = load_biases(inputs.biases, head, row_places, tl.minimum(sizes.globals + column_places, hidden_place))
    q_start, grad_start = first_token(inputs.q, head, sizes), first_token(saved.grad_out, head, sizes)
    k_start, v_start = first_token(inputs.k, head, sizes), first_token(inputs.v, head, sizes)

    sums = tl.zeros([ROWS, COLUMNS], tl.float32)
    begin, end = batch * visitors * part // num_parts, batch * visitors * (part + 1) // num_parts
    image, visitor = begin // tl.maximum(visitors, 1), begin % tl.maximum(visitors, 1)
    for _ in range(begin, end):
        chunk = tl.load(visits_start + visitor)
        of_image = image.to(tl.int64)
        visitor = tl.where(visitor + 1 < visitors, visitor + 1, 0)
        image += (visitor == 0).to(tl.int32)
        tokens = tl.load(square + chunk * sizes.square + row_places)
        keys = tl.load(neighborhood + chunk * sizes.neighborhood + column_places)
        shown = tl.where(keys == HIDDEN, float('-inf'), 0.0)
        query_tile = load_tile(q_start + of_image * inputs.q.strides[0], tokens, inputs.q.strides[2], HEAD_WIDTH, WIDTH)
        grad_tile = load_tile(
            grad_start + of_image * saved.grad_out.strides[0], tokens, saved.grad_out.strides[2], HEAD_WIDTH, WIDTH
        )
        key_tile = load_tile(k_start + of_image * inputs.k.strides[0], keys, inputs.k.strides[2], HEAD_WIDTH, WIDTH)
        value_tile = load_tile(v_start + of_image * inputs.v.strides[0], keys, inputs.v.strides[2], HEAD_WIDTH, WIDTH)
        of_tokens = (of_image * sizes.heads + head) * sizes.queries + tokens
        log_sum = tl.load(saved.log_sums + of_tokens, mask=tokens >= 0, other=float('inf'))
        mean = tl.load(saved.means + of_tokens, mask=tokens >= 0, other=0.0)
        scores = product(query_tile, key_tile, PRECISION) * (sizes.scale * UNIT) + bias + shown[None, :]
        weights = exponential(scores - log_sum[:, None], UNIT)
        sums += weights * (product(grad_tile, value_tile, PRECISION) - mean[:, None])
    rows = ((head - first_head) * num_parts + part).to(tl.int64) * sizes.square + row_places
    tl.store(parts + rows[:, None] * sizes.neighborhood + column_places[None, :], sums * sizes.unshift)
