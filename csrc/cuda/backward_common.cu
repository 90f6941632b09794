#include "backward.cuh"
#include "reduce.h"

namespace vil_mm {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarpsOfBlock = kThreads / kWarpSize;

VIL_MM_DEVICE int64_t global_warp_index() { return static_cast<int64_t>(blockIdx.x) * kWarpsOfBlock + warp_index(); }

VIL_MM_DEVICE float warp_sum(float value) {
#pragma unroll
  for (int mask = 1; mask < kWarpSize; mask *= 2) value += shuffle_xor(value, mask);
  return value;
}

// A warp per entry of the table, which sums over all pairs of a query and a key at that distance.
__global__ void __launch_bounds__(kThreads) reduce_table_kernel(const __grid_constant__ ReduceTable arguments) {
  const Problem& problem = arguments.problem;
  const int window = problem.window, entries = num_entries(window);
  const int64_t first_head = arguments.unit_begin / arguments.row_tiles;
  const int64_t head = first_head + global_warp_index() / entries;
  const int entry = static_cast<int>(global_warp_index() % entries);
  int64_t begin = head * arguments.row_tiles, end = begin + arguments.row_tiles;  // units
  const bool begun = begin < arguments.unit_begin;
  begin = begun ? arguments.unit_begin : begin;
  end = end > arguments.unit_end ? arguments.unit_end : end;
  if (begin >= end) return;

  const RelativeKeys neighborhood(problem);
  const Distance distance = bias_distance(entry, window);
  const int first_tile = static_cast<int>(begin - head * arguments.row_tiles);
  const int query_begin = first_tile * arguments.rows;
  int query_end = query_begin + static_cast<int>(end - begin) * arguments.rows;
  query_end = query_end > window * window ? window * window : query_end;
  float sum = 0;
  for (int query = query_begin + lane_index(); query < query_end; query += kWarpSize) {
    const int key = neighborhood.index(query / window - distance.rows, query % window - distance.columns);
    if (key < 0) continue;
    const int64_t unit = begin - arguments.unit_begin + (query - query_begin) / arguments.rows;
    const float* part = arguments.parts + unit * arguments.splits * arguments.rows * arguments.columns +
                        static_cast<int64_t>(query % arguments.rows) * arguments.columns + key;
    for (int split = 0; split < arguments.splits; ++split) {
      sum += part[static_cast<int64_t>(split) * arguments.rows * arguments.columns];
    }
  }
  sum = warp_sum(sum);
  float* gradient = arguments.grad_table + head * entries + entry;
  if (lane_index() == 0) *gradient = begun ? *gradient + sum : sum;
}

// A warp per head and global token.
__global__ void __launch_bounds__(kThreads)
    reduce_global_bias_kernel(const __grid_constant__ ReduceGlobalBias arguments) {
  const int64_t index = global_warp_index(), num_global = arguments.num_global;
  if (index >= arguments.heads * num_global) return;
  const int64_t head = index / num_global, token = index % num_global;
  float sum = 0;
  for (int64_t i = lane_index(); i < arguments.batch * arguments.splits; i += kWarpSize) {
    const int64_t batch = i / arguments.splits, split = i % arguments.splits;
    sum += arguments.parts[((batch * arguments.heads + head) * arguments.splits + split) * num_global + token];
  }
  sum = warp_sum(sum);
  if (lane_index() == 0) arguments.grad_global_bias[index] = sum;
}

int64_t blocks_of_warps(int64_t warps) { return (warps + kWarpsOfBlock - 1) / kWarpsOfBlock; }

// Parts of the global tokens' gradients: with enough queries per part that the parts are small compared to the queries,
// and few enough that sums of floats keep their digits.
GlobalParts plan_global_parts(const Problem& problem) {
  constexpr int kQueries = 128, kGlobalTokens = 8;
  const int64_t wanted = static_cast<int64_t>(kQueries) * ceil_div(problem.num_global, kGlobalTokens);
  const int64_t queries = num_queries(problem), per_split = wanted < queries ? wanted : queries;
  const int splits = static_cast<int>((queries + per_split - 1) / per_split);
  return {static_cast<int>(per_split), splits, nullptr, nullptr, nullptr};
}

// Parts of the bias table's gradient. Rows and columns are counted in the largest tiles that a kernel can have.
TableParts plan_table_parts(const Problem& problem) {
  constexpr int64_t kBlocks = 512, kChunksOfSplit = 8;
  constexpr int64_t kSize = kBlocks * kMaxTileRows * kMaxTileColumns;  // 8 MiB
  const int64_t row_tiles = ceil_div(problem.window * problem.window, kMaxTileRows);
  const int64_t column_tiles = ceil_div(RelativeKeys(problem).size(), kMaxTileColumns);
  const int64_t items = problem.batch * num_chunks(problem);
  const int64_t most = (items + kChunksOfSplit - 1) / kChunksOfSplit;
  int64_t splits = kBlocks / (problem.heads * row_tiles * column_tiles);
  splits = splits < 1 ? 1 : splits > most ? most : splits;
  const int64_t unit = splits * kMaxTileRows * column_tiles * kMaxTileColumns, all = problem.heads * row_tiles * unit;
  const int64_t bounded = all < kSize ? all : kSize;
  return {static_cast<int>(splits), static_cast<size_t>(bounded > unit ? bounded : unit), nullptr};
}

}  // namespace

cudaError_t reduce_table(const ReduceTable& arguments, cudaStream_t stream) {
  const int64_t first_head = arguments.unit_begin / arguments.row_tiles;
  const int64_t end_head = (arguments.unit_end + arguments.row_tiles - 1) / arguments.row_tiles;
  const int64_t warps = (end_head - first_head) * num_entries(arguments.problem.window);
  return launch(reduce_table_kernel, blocks_of_warps(warps), kThreads, 0, stream, arguments);
}

cudaError_t reduce_global_bias(const ReduceGlobalBias& arguments, cudaStream_t stream) {
  const int64_t warps = arguments.heads * arguments.num_global;
  return launch(reduce_global_bias_kernel, blocks_of_warps(warps), kThreads, 0, stream, arguments);
}

BackwardWorkspace plan_workspace(const Problem& problem, bool has_bias_table, bool is_float, float* workspace) {
  BackwardWorkspace plan = {};
  const auto take = [&](size_t count) {
    float* piece = workspace == nullptr ? nullptr : workspace + plan.size;
    constexpr size_t kElements = kElementsOf16Bytes<float>;
    plan.size += (count + kElements - 1) / kElements * kElements;  // so that the next piece is aligned to 16 bytes
    return piece;
  };
  plan.prepared_table = take(prepared_workspace(problem, has_bias_table));
  const size_t queries = problem.batch * problem.heads * num_queries(problem);
  plan.delta = take(queries);
  if (is_float) plan.correction = take(queries);
  if (problem.num_global > 0) {
    plan.global = plan_global_parts(problem);
    const size_t tokens = problem.batch * problem.heads * plan.global.splits * problem.num_global;
    plan.global.k = take(tokens * problem.head_width);
    plan.global.v = take(tokens * problem.head_width);
    plan.global.bias = take(tokens);
  }
  if (has_bias_table) {
    plan.table = plan_table_parts(problem);
    plan.table.data = take(plan.table.size);
  }
  return plan;
}

}  // namespace cuda
}  // namespace vil_mm
