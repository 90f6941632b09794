// Gradients of the keys and the values: a block has a tile of keys and runs over the queries that see them, so that the
// scores are transposed. For a chunk's keys it computes the whole gradients; for the global tokens, the part that comes
// from some of the queries.
#pragma once

#include "backward.cuh"

namespace vil_mm {
namespace cuda {

template <typename T>
struct KeyArguments {
  BackwardArguments<T> common;
  GlobalParts parts;
};

// The queries from `begin` to `end`, wherever they lie on the grid.
struct QueryRun {
  int begin, end;

  VIL_MM_DEVICE int size() const { return end - begin; }
  VIL_MM_DEVICE Place place(int index) const {
    return index < size() ? Place{begin + index, 0, 0.f} : Place{-1, 0, -INFINITY};
  }
};

// Sums over the queries of `columns`; key_at(row) is a row of the tile. finish(row, key gradients, value gradients,
// bias gradients of the lane's rows, scratch rows for keys and for values) receives the warp's sums.
template <int kWidth, Arithmetic kArithmetic, typename T, typename Columns, typename KeyAt, typename Finish>
VIL_MM_DEVICE void sum_key_gradients(const BackwardArguments<T>& arguments, int64_t batch, int64_t head,
                                     const Table& bias_table, const Columns& columns, KeyAt key_at, Finish finish) {
  using Product = Products<T, kWidth, kArithmetic>;
  using Layout = BackwardLayout<T, kWidth>;
  constexpr int kStride = kRowStride<T, kWidth>, kColumns = Layout::kColumns;
  constexpr int kFragments = kColumns / kFragmentColumns;
  const Backward<T>& pass = arguments.pass;
  const Inputs<T>& inputs = pass.inputs;
  const Problem& problem = inputs.problem;
  const BlockShape& shape = arguments.shape;

  SharedMemory memory(dynamic_shared());
  const Layout shared(memory, shape, bias_table);
  const LoadedTable table = load_table(bias_table, head, shared.table);

  const Source<T> row_sources[] = {{of_head(inputs.k, batch, head), shared.first_rows},
                                   {of_head(inputs.v, batch, head), shared.second_rows}};
  load_tiles<kWidth>(row_sources, shape.rows(), problem.head_width, arguments.aligned, key_at);
  const HeadTokens<const T> q = of_head(inputs.q, batch, head);
  const HeadTokens<const T> grad_out = of_head(pass.grad_out, batch, head);
  const int64_t first = first_query(problem, batch, head);
  const auto load = [&](int tile, int stage) {
    load_queries<kExact<T, kArithmetic>>(shared.columns.at(stage * kColumns), shared.notes.at(stage * kColumns),
                                         kColumns, q, grad_out, arguments, first,
                                         [&](int column) { return columns.place(tile * kColumns + column); });
  };

  const int first_row = warp_index() * kWarpRows;
  LaneRows rows = {};
  bool idle = true;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const Place place = key_at(first_row + lane_row() + 8 * i);
    idle = idle && place.token < 0;
    rows.term[i] = place.term;
    rows.bias[i] = place.bias;
  }
  idle = !any_of_warp(!idle);

  float key_sums[kWidth / kFragmentColumns][4], value_sums[kWidth / kFragmentColumns][4], bias_sums[2] = {0, 0};
  clear(key_sums);
  clear(value_sums);
  typename Product::template Rows<kRowsInRegisters<kWidth>> key_rows, value_rows;
  const float scale = static_cast<float>(problem.scale) * kScoreUnit<T>;
  for_each_tile(ceil_div(columns.size(), kColumns), shape.stages, load, [&](int tile, int stage) {
    if (idle) return;
    if (tile == 0) {
      key_rows.set(shared.first_rows + first_row * kStride);
      value_rows.set(shared.second_rows + first_row * kStride);
    }
    const TileNotes notes = shared.notes.at(stage * kColumns);
    float weights[kFragments][4], gradients[kFragments][4];
    Product::scores(weights, key_rows, shared.columns.first + stage * kColumns * kStride);
    to_scores<Rows::kKeys>(weights, scale, rows, notes, table);
    to_weights<kExact<T, kArithmetic>, T, Rows::kKeys>(weights, rows, notes);
    if constexpr (kExact<T, kArithmetic>) multiply_columns(weights, notes.correction);
    Product::accumulate(value_sums, weights, shared.columns.second + stage * kColumns * kStride);
    Product::scores(gradients, value_rows, shared.columns.second + stage * kColumns * kStride);
    float tile_bias[2] = {0, 0};
#pragma unroll
    for (int f = 0; f < kFragments; ++f) {
      const float2 delta = column_pair<float2>(notes.delta, f);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        gradients[f][i] = score_gradient(weights[f][i], gradients[f][i], i % 2 == 0 ? delta.x : delta.y);
        tile_bias[i / 2] += gradients[f][i];
      }
    }
    bias_sums[0] += tile_bias[0];
    bias_sums[1] += tile_bias[1];
    Product::accumulate(key_sums, gradients, shared.columns.first + stage * kColumns * kStride);
  });
  if (!idle)
    finish(first_row, key_sums, value_sums, bias_sums, shared.first_rows + first_row * kStride,
           shared.second_rows + first_row * kStride);
}

template <typename T, int kWidth, Arithmetic kArithmetic>
__global__ void __launch_bounds__(kMaxWarps* kWarpSize)
    backward_local_keys_kernel(const __grid_constant__ BackwardArguments<T> arguments) {
  using Product = Products<T, kWidth, kArithmetic>;
  const Problem& problem = arguments.pass.inputs.problem;
  const BlockPlace block = block_place(problem, arguments.row_tiles);
  const auto key_at = [&](int row) {
    return chunk_key(problem, block.chunk, block.tile * arguments.shape.rows() + row);
  };
  sum_key_gradients<kWidth, kArithmetic>(
      arguments, block.batch, block.head, arguments.table, Seers(problem, block.chunk), key_at,
      [&](int first_row, const auto& key_sums, const auto& value_sums, const auto&, T* key_rows, T* value_rows) {
        const auto token_of = [&](int row) { return key_at(first_row + row).token; };
        const float scale = static_cast<float>(problem.scale);
        const float key_factor[2] = {scale, scale}, value_factor[2] = {1, 1};
        store_rows<Product, kWidth>(key_sums, key_factor, key_rows,
                                    of_head(arguments.pass.grad_k, block.batch, block.head), problem.head_width,
                                    arguments.aligned, token_of);
        store_rows<Product, kWidth>(value_sums, value_factor, value_rows,
                                    of_head(arguments.pass.grad_v, block.batch, block.head), problem.head_width,
                                    arguments.aligned, token_of);
      });
}

template <typename T, int kWidth, Arithmetic kArithmetic>
__global__ void __launch_bounds__(kMaxWarps* kWarpSize)
    backward_global_keys_kernel(const __grid_constant__ KeyArguments<T> arguments) {
  using Product = Products<T, kWidth, kArithmetic>;
  const BackwardArguments<T>& common = arguments.common;
  const GlobalParts& parts = arguments.parts;
  const Inputs<T>& inputs = common.pass.inputs;
  const Problem& problem = inputs.problem;
  const int num_global = problem.num_global;
  const int tile = static_cast<int>(blockIdx.x) % common.row_tiles;
  const int part = static_cast<int>(blockIdx.x) / common.row_tiles;  // of (batch * heads, splits)
  const int head_index = part / parts.splits, heads = static_cast<int>(problem.heads);
  const int batch = head_index / heads, head = head_index % heads;
  const int begin = part % parts.splits * parts.queries_per_split;
  const int queries = static_cast<int>(num_queries(problem)), left = queries - begin;
  const QueryRun run = {begin, begin + (left < parts.queries_per_split ? left : parts.queries_per_split)};
  const float* global_bias = global_bias_of_head(inputs, head);
  const auto key_at = [&](int row) {
    const int token = tile * common.shape.rows() + row;
    if (token >= num_global) return Place{-1, 0, -INFINITY};
    return Place{token, 0, global_bias == nullptr ? 0.f : global_bias[token] * kScoreUnit<T>};
  };
  sum_key_gradients<kWidth, kArithmetic>(
      common, batch, head, Table{}, run, key_at,
      [&](int first_row, const auto& key_sums, const auto& value_sums, const auto& bias_sums, T*, T*) {
        const float scale = static_cast<float>(problem.scale);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const float bias_sum = row_sum(bias_sums[half]);
          const int token = key_at(first_row + lane_row() + 8 * half).token;
          if (token < 0) continue;
          const int64_t row = static_cast<int64_t>(part) * num_global + token;
          if (lane_column() == 0) parts.bias[row] = bias_sum;
#pragma unroll
          for (int f = 0; f < kWidth / kFragmentColumns; ++f) {
#pragma unroll
            for (int i = 0; i < 2; ++i) {
              const int column = Product::sum_column(f) + i;
              if (column >= problem.head_width) continue;
              parts.k[row * problem.head_width + column] = key_sums[f][2 * half + i] * scale;
              parts.v[row * problem.head_width + column] = value_sums[f][2 * half + i];
            }
          }
        }
      });
}

template <typename T, int kWidth, Arithmetic kArithmetic>
cudaError_t backward_local_keys(BackwardArguments<T> arguments, cudaStream_t stream) {
  const Problem& problem = arguments.pass.inputs.problem;
  const auto kernel = backward_local_keys_kernel<T, kWidth, kArithmetic>;
  size_t shared_bytes;
  VIL_MM_RETURN_IF_ERROR((plan_block<BackwardLayout<T, kWidth>>(kernel, problem.window * problem.window,
                                                                &arguments.table, &arguments.shape, &shared_bytes)));
  arguments.row_tiles = num_row_tiles(problem, arguments.shape);
  return launch(kernel, num_chunks_of_all_heads(problem) * arguments.row_tiles, arguments.shape.threads(), shared_bytes,
                stream, arguments);
}

template <typename T, int kWidth, Arithmetic kArithmetic>
cudaError_t backward_global_keys(const BackwardArguments<T>& arguments, const GlobalParts& parts, cudaStream_t stream) {
  const Problem& problem = arguments.pass.inputs.problem;
  if (problem.num_global == 0) return cudaSuccess;
  const auto kernel = backward_global_keys_kernel<T, kWidth, kArithmetic>;
  KeyArguments<T> global = {arguments, parts};
  global.common.table = {};
  size_t shared_bytes;
  VIL_MM_RETURN_IF_ERROR((plan_block<BackwardLayout<T, kWidth>>(kernel, problem.num_global, &global.common.table,
                                                                &global.common.shape, &shared_bytes)));
  global.common.row_tiles = ceil_div(problem.num_global, global.common.shape.rows());
  return launch(kernel, problem.batch * problem.heads * parts.splits * global.common.row_tiles,
                global.common.shape.threads(), shared_bytes, stream, global);
}

template <typename T, Arithmetic kArithmetic>
cudaError_t backward_keys(const BackwardArguments<T>& arguments, const GlobalParts& parts, cudaStream_t stream) {
  return with_padded_width(arguments.pass.inputs.problem.head_width, [&](auto width) {
    VIL_MM_RETURN_IF_ERROR((backward_local_keys<T, width(), kArithmetic>(arguments, stream)));
    return backward_global_keys<T, width(), kArithmetic>(arguments, parts, stream);
  });
}

}  // namespace cuda
}  // namespace vil_mm
