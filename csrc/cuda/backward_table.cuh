// Gradient of the bias table, first step: a block has a tile of the chunk's queries and a tile of the neighborhood's
// keys, given by their places relative to the chunk, and sums the gradients of their scores over chunks and images.
#pragma once

#include "backward.cuh"
#include "reduce.h"

namespace vil_mm {
namespace cuda {

template <typename T>
struct TableArguments {
  BackwardArguments<T> common;
  TableParts parts;
  int column_tiles;
  int64_t first_unit;  // of the group
};

// Here, the rows come in stages as the columns do.
template <typename T, int kWidth>
struct TableLayout {
  static constexpr int kColumns = kTileColumns<T, kWidth>;
  static_assert(kMaxTileColumns % kColumns == 0, "plan_workspace counts the largest tiles");

  TilePair<T, kWidth> queries;  // and gradients of their outputs
  TilePair<T, kWidth> keys;     // and values
  TileNotes query_notes, key_notes;
  float* table;

  template <typename Memory>
  VIL_MM_HOST_DEVICE TableLayout(Memory& memory, const BlockShape& shape, const Table& bias_table)
      : queries(TilePair<T, kWidth>::take(memory, shape.stages * shape.rows())),
        keys(TilePair<T, kWidth>::take(memory, shape.stages * kColumns)),
        query_notes(TileNotes::take(memory, shape.stages * shape.rows())),
        key_notes(TileNotes::take(memory, shape.stages * kColumns)),
        table(take_table(memory, bias_table)) {}
};

template <typename T, int kWidth, Arithmetic kArithmetic>
__global__ void __launch_bounds__(kMaxWarps* kWarpSize)
    backward_table_kernel(const __grid_constant__ TableArguments<T> arguments) {
  using Product = Products<T, kWidth, kArithmetic>;
  using Layout = TableLayout<T, kWidth>;
  constexpr int kStride = kRowStride<T, kWidth>, kColumns = Layout::kColumns;
  constexpr int kFragments = kColumns / kFragmentColumns;
  const BackwardArguments<T>& common = arguments.common;
  const Backward<T>& pass = common.pass;
  const Inputs<T>& inputs = pass.inputs;
  const Problem& problem = inputs.problem;
  const BlockShape& shape = common.shape;

  const int splits = arguments.parts.splits;
  int index = static_cast<int>(blockIdx.x);
  const int column_tile = index % arguments.column_tiles;
  index /= arguments.column_tiles;
  const int split = index % splits;
  const int64_t unit = arguments.first_unit + index / splits;
  const int row_tile = static_cast<int>(unit % common.row_tiles);
  const int64_t head = unit / common.row_tiles;
  const int chunks = num_chunks(problem);
  const int64_t items = problem.batch * chunks;  // images and their chunks
  const int64_t begin = items * split / splits, end = items * (split + 1) / splits;

  SharedMemory memory(dynamic_shared());
  const Layout shared(memory, shape, common.table);
  const LoadedTable table = load_table(common.table, head, shared.table);

  const RelativeKeys neighborhood(problem);
  const auto load = [&](int tile, int stage) {
    const int64_t batch = (begin + tile) / chunks;
    const Chunk chunk = chunk_at(problem, static_cast<int>((begin + tile) % chunks));
    load_queries<kExact<T, kArithmetic>>(
        shared.queries.at(stage * shape.rows()), shared.query_notes.at(stage * shape.rows()), shape.rows(),
        of_head(inputs.q, batch, head), of_head(pass.grad_out, batch, head), common, first_query(problem, batch, head),
        [&](int row) { return chunk_query(problem, chunk, row_tile * shape.rows() + row); });
    load_keys(shared.keys.at(stage * kColumns), shared.key_notes.at(stage * kColumns), kColumns,
              of_head(inputs.k, batch, head), of_head(inputs.v, batch, head), problem.head_width, common.aligned,
              [&](int column) { return neighborhood.place(column_tile * kColumns + column, chunk); });
  };

  const int first_row = warp_index() * kWarpRows;
  const bool idle = row_tile * shape.rows() + first_row >= problem.window * problem.window;
  const float scale = static_cast<float>(problem.scale) * kScoreUnit<T>;
  float sums[kFragments][4];
  clear(sums);
  for_each_tile(static_cast<int>(end - begin), shape.stages, load, [&](int, int stage) {
    if (idle) return;
    const TileNotes noted = shared.query_notes.at(stage * shape.rows() + first_row + lane_row());
    const LaneRows rows = {{noted.term[0], noted.term[8]}, {}, {noted.offset[0], noted.offset[8]}};
    const float delta[2] = {noted.delta[0], noted.delta[8]};
    const int row_place = (stage * shape.rows() + first_row) * kStride;
    typename Product::template Rows<false> query_rows, gradient_rows;
    query_rows.set(shared.queries.first + row_place);
    gradient_rows.set(shared.queries.second + row_place);
    float weights[kFragments][4], gradients[kFragments][4];
    Product::scores(weights, query_rows, shared.keys.first + stage * kColumns * kStride);
    to_scores<Rows::kQueries>(weights, scale, rows, shared.key_notes.at(stage * kColumns), table);
    to_weights<kExact<T, kArithmetic>, T, Rows::kQueries>(weights, rows, shared.key_notes.at(stage * kColumns));
    Product::scores(gradients, gradient_rows, shared.keys.second + stage * kColumns * kStride);
#pragma unroll
    for (int f = 0; f < kFragments; ++f) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if constexpr (kExact<T, kArithmetic>) weights[f][i] *= noted.correction[i / 2 * 8];
        sums[f][i] += score_gradient(weights[f][i], gradients[f][i], delta[i / 2]);
      }
    }
  });
  // Idle warps write zeros, since the sums that follow do not know which warps were idle.
  const int64_t columns = arguments.column_tiles * kColumns;
  float* part = arguments.parts.data + static_cast<int64_t>(index) * shape.rows() * columns;
#pragma unroll
  for (int f = 0; f < kFragments; ++f) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t row = first_row + lane_row() + 8 * half;
      *reinterpret_cast<float2*>(part + row * columns + column_tile * kColumns + kFragmentColumns * f +
                                 lane_column()) = {sums[f][2 * half], sums[f][2 * half + 1]};
    }
  }
}

template <typename T, int kWidth, Arithmetic kArithmetic>
cudaError_t backward_table_of_width(BackwardArguments<T> common, const TableParts& parts, cudaStream_t stream) {
  const Problem& problem = common.pass.inputs.problem;
  using Layout = TableLayout<T, kWidth>;
  const auto kernel = backward_table_kernel<T, kWidth, kArithmetic>;
  size_t shared_bytes;
  VIL_MM_RETURN_IF_ERROR(
      plan_block<Layout>(kernel, problem.window * problem.window, &common.table, &common.shape, &shared_bytes));
  common.row_tiles = num_row_tiles(problem, common.shape);
  const int column_tiles = ceil_div(RelativeKeys(problem).size(), Layout::kColumns);
  const int rows = common.shape.rows(), columns = column_tiles * Layout::kColumns;
  const int64_t units = problem.heads * common.row_tiles;
  const int64_t unit_size = static_cast<int64_t>(parts.splits) * rows * columns;
  const int64_t group = static_cast<int64_t>(parts.size) / unit_size;
  for (int64_t first = 0; first < units; first += group) {
    const int64_t count = units - first < group ? units - first : group;
    const TableArguments<T> arguments = {common, parts, column_tiles, first};
    VIL_MM_RETURN_IF_ERROR(
        launch(kernel, count * parts.splits * column_tiles, common.shape.threads(), shared_bytes, stream, arguments));
    const ReduceTable reduction = {problem, parts.data,    parts.splits,
                                   rows,    columns,       common.row_tiles,
                                   first,   first + count, common.pass.grad_bias_table};
    VIL_MM_RETURN_IF_ERROR(reduce_table(reduction, stream));
  }
  return cudaSuccess;
}

template <typename T, Arithmetic kArithmetic>
cudaError_t backward_table(const BackwardArguments<T>& common, const TableParts& parts, cudaStream_t stream) {
  return with_padded_width(common.pass.inputs.problem.head_width, [&](auto width) {
    return backward_table_of_width<T, width(), kArithmetic>(common, parts, stream);
  });
}

}  // namespace cuda
}  // namespace vil_mm
