// The forward pass: a block has a tile of a chunk's queries and runs over the keys of its neighborhood, updating the
// softmax on the way.
#pragma once

#include "key_loader.cuh"
#include "scores.cuh"

namespace vil_mm {
namespace cuda {

template <typename T>
struct ForwardArguments {
  Forward<T> pass;
  Table table;
  BlockShape shape;
  int row_tiles;  // of a chunk
  bool aligned;
};

template <typename T, int kWidth>
struct ForwardLayout {
  static constexpr int kColumns = kTileColumns<T, kWidth>;

  T* queries;
  TilePair<T, kWidth> keys;  // and values
  TileNotes notes;           // of keys
  float* table;

  template <typename Memory>
  VIL_MM_HOST_DEVICE ForwardLayout(Memory& memory, const BlockShape& shape, const Table& bias_table)
      : queries(take_tile<kWidth, T>(memory, shape.rows())),
        keys(TilePair<T, kWidth>::take(memory, shape.stages * kColumns)),
        notes(TileNotes::take(memory, shape.stages * kColumns)),
        table(take_table(memory, bias_table)) {}
};

template <typename T, int kWidth, Arithmetic kArithmetic>
__global__ void __launch_bounds__(kMaxWarps* kWarpSize)
    forward_kernel(const __grid_constant__ ForwardArguments<T> arguments) {
  using Product = Products<T, kWidth, kArithmetic>;
  using Layout = ForwardLayout<T, kWidth>;
  constexpr int kStride = kRowStride<T, kWidth>, kColumns = Layout::kColumns;
  constexpr int kFragments = kColumns / kFragmentColumns;
  const Inputs<T>& inputs = arguments.pass.inputs;
  const Problem& problem = inputs.problem;
  const BlockShape& shape = arguments.shape;
  const BlockPlace block = block_place(problem, arguments.row_tiles);

  SharedMemory memory(dynamic_shared());
  const Layout shared(memory, shape, arguments.table);
  const LoadedTable table = load_table(arguments.table, block.head, shared.table);

  const auto query_at = [&](int row) { return chunk_query(problem, block.chunk, block.tile * shape.rows() + row); };
  const Source<T> query_source[] = {{of_head(inputs.q, block.batch, block.head), shared.queries}};
  load_tiles<kWidth>(query_source, shape.rows(), problem.head_width, arguments.aligned, query_at);
  const Keys neighborhood(problem, block.chunk, global_bias_of_head(inputs, block.head), kScoreUnit<T>);
  const KeyLoader<T, kWidth, kColumns> load(neighborhood, shared.keys, shared.notes, inputs, block, arguments.aligned);

  // The two rows of this lane.
  const int first_row = warp_index() * kWarpRows;
  const Place low = query_at(first_row + lane_row()), high = query_at(first_row + lane_row() + 8);
  const LaneRows rows = {{low.term, high.term}, {}, {}};
  const bool idle = !any_of_warp(low.token >= 0 || high.token >= 0);
  float sums[kWidth / kFragmentColumns][4], maximum[2] = {-INFINITY, -INFINITY}, weight[2] = {0, 0};
  clear(sums);

  typename Product::template Rows<kRowsInRegisters<kWidth>> query_rows;
  const float scale = static_cast<float>(problem.scale) * kScoreUnit<T>;
  for_each_tile(load.num_tiles(), shape.stages, load, [&](int tile, int stage) {
    if (idle) return;
    if (tile == 0) query_rows.set(shared.queries + first_row * kStride);
    float scores[kFragments][4];
    Product::scores(scores, query_rows, shared.keys.first + stage * kColumns * kStride);
    to_scores<Rows::kQueries>(scores, scale, rows, shared.notes.at(stage * kColumns), table);
    softmax_step<kExact<T, kArithmetic>, T>(scores, maximum, weight, sums);
    Product::accumulate(sums, scores, shared.keys.second + stage * kColumns * kStride);
  });
  if (idle) return;

  const int64_t first = first_query(problem, block.batch, block.head);
  float factor[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    weight[i] = row_sum(weight[i]);
    factor[i] = 1 / weight[i];
    const int token = i == 0 ? low.token : high.token;
    if (token >= 0 && lane_column() == 0)
      arguments.pass.lse[first + token] = maximum[i] / kScoreUnit<T> + logf(weight[i]);
  }
  store_rows<Product, kWidth>(sums, factor, shared.queries + first_row * kStride,
                              of_head(arguments.pass.out, block.batch, block.head), problem.head_width,
                              arguments.aligned, [&](int row) { return query_at(first_row + row).token; });
}

template <typename T>
cudaError_t forward(const Forward<T>& pass, float* workspace, cudaStream_t stream) {
  const Inputs<T>& inputs = pass.inputs;
  const Problem& problem = inputs.problem;
  Table table;
  VIL_MM_RETURN_IF_ERROR(prepare_table(problem, inputs.bias_table, kScoreUnit<T>, workspace, stream, &table));
  return with_padded_width(problem.head_width, [&](auto width) {
    return with_arithmetic<T>(inputs.allow_tf32, [&](auto arithmetic) {
      ForwardArguments<T> arguments = {};
      arguments.pass = pass;
      arguments.table = table;
      const auto kernel = forward_kernel<T, width(), arithmetic()>;
      size_t shared_bytes;
      VIL_MM_RETURN_IF_ERROR((plan_block<ForwardLayout<T, width()>>(
          kernel, problem.window * problem.window, &arguments.table, &arguments.shape, &shared_bytes)));
      arguments.row_tiles = num_row_tiles(problem, arguments.shape);
      arguments.aligned = is_aligned(problem.head_width, inputs.q, inputs.k, inputs.v, pass.out);
      return launch(kernel, num_chunks_of_all_heads(problem) * arguments.row_tiles, arguments.shape.threads(),
                    shared_bytes, stream, arguments);
    });
  });
}

}  // namespace cuda
}  // namespace vil_mm
