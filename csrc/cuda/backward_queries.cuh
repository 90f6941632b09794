// Gradient of the queries: a block has a tile of a chunk's queries and runs over the keys of its neighborhood.
#pragma once

#include "backward.cuh"
#include "key_loader.cuh"

namespace vil_mm {
namespace cuda {

template <typename T, int kWidth, Arithmetic kArithmetic>
__global__ void __launch_bounds__(kMaxWarps* kWarpSize)
    backward_queries_kernel(const __grid_constant__ BackwardArguments<T> arguments) {
  using Product = Products<T, kWidth, kArithmetic>;
  using Layout = BackwardLayout<T, kWidth>;
  constexpr int kStride = kRowStride<T, kWidth>, kColumns = Layout::kColumns;
  constexpr int kFragments = kColumns / kFragmentColumns;
  const Backward<T>& pass = arguments.pass;
  const Inputs<T>& inputs = pass.inputs;
  const Problem& problem = inputs.problem;
  const BlockShape& shape = arguments.shape;
  const BlockPlace block = block_place(problem, arguments.row_tiles);

  SharedMemory memory(dynamic_shared());
  const Layout shared(memory, shape, arguments.table);
  const LoadedTable table = load_table(arguments.table, block.head, shared.table);

  const auto query_at = [&](int row) { return chunk_query(problem, block.chunk, block.tile * shape.rows() + row); };
  const Source<T> row_sources[] = {{of_head(inputs.q, block.batch, block.head), shared.first_rows},
                                   {of_head(pass.grad_out, block.batch, block.head), shared.second_rows}};
  load_tiles<kWidth>(row_sources, shape.rows(), problem.head_width, arguments.aligned, query_at);
  const Keys neighborhood(problem, block.chunk, global_bias_of_head(inputs, block.head), kScoreUnit<T>);
  const KeyLoader<T, kWidth, kColumns> load(neighborhood, shared.columns, shared.notes, inputs, block,
                                            arguments.aligned);

  const int first_row = warp_index() * kWarpRows;
  const int64_t first = first_query(problem, block.batch, block.head);
  LaneRows rows = {};
  int tokens[2];
  bool idle = true;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const Place place = query_at(first_row + lane_row() + 8 * i);
    idle = idle && place.token < 0;
    rows.term[i] = place.term;
    rows.offset[i] = score_offset(arguments, first, place.token);
    tokens[i] = place.token;
  }
  idle = !any_of_warp(!idle);

  typename Product::template Rows<kRowsInRegisters<kWidth>> query_rows, gradient_rows;
  const float scale = static_cast<float>(problem.scale);
  const int tiles = load.num_tiles();
  float weights[kFragments][4], gradients[kFragments][4];
  const auto compute_weights = [&](int tile, int stage) {
    if (tile == 0) {
      query_rows.set(shared.first_rows + first_row * kStride);
      gradient_rows.set(shared.second_rows + first_row * kStride);
    }
    Product::scores(weights, query_rows, shared.columns.first + stage * kColumns * kStride);
    to_scores<Rows::kQueries>(weights, scale * kScoreUnit<T>, rows, shared.notes.at(stage * kColumns), table);
    to_weights<kExact<T, kArithmetic>, T, Rows::kQueries>(weights, rows, shared.notes.at(stage * kColumns));
    Product::scores(gradients, gradient_rows, shared.columns.second + stage * kColumns * kStride);
  };

  float delta[2] = {0, 0}, factor[2] = {scale, scale};
  if constexpr (kExact<T, kArithmetic>) {
    // The logarithm of the softmax's sum is rounded, and a delta computed from the output does not cancel the
    // gradients' errors as their own mean does. So both are recomputed.
    float weight_sums[2] = {0, 0};
    for_each_tile(tiles, shape.stages, load, [&](int tile, int stage) {
      if (idle) return;
      compute_weights(tile, stage);
      float tile_weight[2] = {0, 0}, tile_delta[2] = {0, 0};  // summed separately: long sums lose digits
#pragma unroll
      for (int f = 0; f < kFragments; ++f) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          tile_weight[i / 2] += weights[f][i];
          tile_delta[i / 2] += weights[f][i] * gradients[f][i];
        }
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        weight_sums[i] += tile_weight[i];
        delta[i] += tile_delta[i];
      }
    });
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float correction = 1 / row_sum(weight_sums[i]);
      delta[i] = row_sum(delta[i]) * correction;
      factor[i] *= correction;
      if (tokens[i] >= 0 && lane_column() == 0) {
        arguments.delta[first + tokens[i]] = delta[i];
        arguments.correction[first + tokens[i]] = correction;
      }
    }
  } else {
#pragma unroll
    for (int i = 0; i < 2; ++i) delta[i] = tokens[i] < 0 ? 0.f : arguments.delta[first + tokens[i]];
  }

  float sums[kWidth / kFragmentColumns][4];
  clear(sums);
  for_each_tile(tiles, shape.stages, load, [&](int tile, int stage) {
    if (idle) return;
    compute_weights(tile, stage);
#pragma unroll
    for (int f = 0; f < kFragments; ++f) {
#pragma unroll
      for (int i = 0; i < 4; ++i) gradients[f][i] = score_gradient(weights[f][i], gradients[f][i], delta[i / 2]);
    }
    Product::accumulate(sums, gradients, shared.columns.first + stage * kColumns * kStride);
  });
  if (idle) return;
  store_rows<Product, kWidth>(sums, factor, shared.first_rows + first_row * kStride,
                              of_head(pass.grad_q, block.batch, block.head), problem.head_width, arguments.aligned,
                              [&](int row) { return query_at(first_row + row).token; });
}

template <typename T, Arithmetic kArithmetic>
cudaError_t backward_queries(BackwardArguments<T> arguments, cudaStream_t stream) {
  const Problem& problem = arguments.pass.inputs.problem;
  return with_padded_width(problem.head_width, [&](auto width) {
    const auto kernel = backward_queries_kernel<T, width(), kArithmetic>;
    size_t shared_bytes;
    VIL_MM_RETURN_IF_ERROR((plan_block<BackwardLayout<T, width()>>(kernel, problem.window * problem.window,
                                                                   &arguments.table, &arguments.shape, &shared_bytes)));
    arguments.row_tiles = num_row_tiles(problem, arguments.shape);
    return launch(kernel, num_chunks_of_all_heads(problem) * arguments.row_tiles, arguments.shape.threads(),
                  shared_bytes, stream, arguments);
  });
}

}  // namespace cuda
}  // namespace vil_mm
