// Blocks: what all kernels are given, which part of the problem is whose, and how much shared memory they take.
#pragma once

#include "sliding_window_cuda.h"
#include "tiles.cuh"

namespace vil_mm {
namespace cuda {

// The work of a block: a tile of a chunk's tokens, in a head.
struct BlockPlace {
  int tile;
  Chunk chunk;
  int64_t head, batch;
};

VIL_MM_DEVICE BlockPlace block_place(const Problem& problem, int tiles) {
  const int chunks = num_chunks(problem), heads = static_cast<int>(problem.heads);
  int index = static_cast<int>(blockIdx.x);
  const int tile = index % tiles;
  index /= tiles;
  const Chunk chunk = chunk_at(problem, index % chunks);
  index /= chunks;
  return {tile, chunk, index % heads, index / heads};
}

VIL_MM_HOST_DEVICE int64_t num_chunks_of_all_heads(const Problem& problem) {
  return problem.batch * problem.heads * num_chunks(problem);
}

VIL_MM_HOST_DEVICE int64_t num_queries(const Problem& problem) {
  return static_cast<int64_t>(problem.height) * problem.width;
}

// Where a head's queries begin in (batch, heads, h * w).
VIL_MM_HOST_DEVICE int64_t first_query(const Problem& problem, int64_t batch, int64_t head) {
  return (batch * problem.heads + head) * num_queries(problem);
}

// Floats of workspace, so that what comes next lies on a boundary of 16 bytes.
VIL_MM_HOST_DEVICE size_t padded_floats(size_t count) { return (count + 3) / 4 * 4; }

template <typename T>
VIL_MM_DEVICE const float* global_bias_of_head(const Inputs<T>& inputs, int64_t head) {
  return inputs.global_bias == nullptr ? nullptr : inputs.global_bias + head * inputs.problem.num_global;
}

inline int num_row_tiles(const Problem& problem, const BlockShape& shape) {
  return ceil_div(problem.window * problem.window, shape.rows());
}

// What a kernel keeps in shared memory, in tiles of tokens.
struct SharedNeeds {
  int row_tiles, staged_row_tiles;  // of one row per row of scores: throughout, and per stage
  int staged_column_tiles;
  bool staged_row_notes;
};

template <typename T, int kWidth>
size_t shared_bytes(const SharedNeeds& needs, int columns, const BlockShape& shape, size_t table_bytes) {
  constexpr size_t kRow = kRowStride<T, kWidth> * sizeof(T), kNote = kNotes * sizeof(float);
  const size_t stage = shape.rows() * (needs.staged_row_tiles * kRow + (needs.staged_row_notes ? kNote : 0)) +
                       columns * (needs.staged_column_tiles * kRow + kNote);
  return shape.rows() * needs.row_tiles * kRow + shape.stages * stage + table_bytes;
}

// The largest block that the device has shared memory for, for tiles of so many columns and, in all, so many rows.
template <typename T, int kWidth>
cudaError_t plan_block(const SharedNeeds& needs, int columns, int rows, Table* table, BlockShape* shape,
                       size_t* bytes) {
  int limit_in_bytes;
  VIL_MM_RETURN_IF_ERROR(shared_memory_limit(&limit_in_bytes));
  const size_t limit = limit_in_bytes;
  const size_t table_bytes = table->data == nullptr ? 0 : table->size * sizeof(float);
  constexpr size_t kLargestTable = 36 * 1024;
  for (bool in_shared : {true, false}) {
    if (in_shared && table_bytes > kLargestTable) continue;
    for (int warps = kMaxWarps; warps > 0; --warps) {
      if (warps > 1 && (warps - 1) * kWarpRows >= rows) continue;  // one would have no rows
      size_t bytes_of[3];
      for (int stages : {1, 2}) {
        bytes_of[stages] = shared_bytes<T, kWidth>(needs, columns, {warps, stages}, in_shared ? table_bytes : 0);
      }
      if (bytes_of[1] > limit) continue;
      // Two blocks on a multiprocessor hide as much as two stages do.
      const bool two_stages = 2 * bytes_of[2] <= limit || (2 * bytes_of[1] > limit && bytes_of[2] <= limit);
      table->in_shared = in_shared;
      *shape = {warps, two_stages ? 2 : 1};
      *bytes = bytes_of[shape->stages];
      return cudaSuccess;
    }
  }
  return cudaErrorInvalidConfiguration;
}

// Whether all rows of these tokens lie on boundaries of 16 bytes.
template <typename T, typename... Others>
bool is_aligned(int head_width, const Tokens<T>& tokens, const Others&... others) {
  constexpr int64_t kElements = 16 / sizeof(T);
  const bool aligned = reinterpret_cast<uintptr_t>(tokens.data) % 16 == 0 && head_width % kElements == 0 &&
                       tokens.batch_stride % kElements == 0 && tokens.head_stride % kElements == 0 &&
                       tokens.token_stride % kElements == 0;
  if constexpr (sizeof...(others) > 0) {
    return aligned && is_aligned(head_width, others...);
  } else {
    return aligned;
  }
}

// Calls run with the padded head width as a constant.
template <typename Run>
cudaError_t with_padded_width(int head_width, Run run) {
  if (head_width <= 32) return run(std::integral_constant<int, 32>());
  if (head_width <= 48) return run(std::integral_constant<int, 48>());
  if (head_width <= 64) return run(std::integral_constant<int, 64>());
  if (head_width <= 96) return run(std::integral_constant<int, 96>());
  return run(std::integral_constant<int, kMaxHeadWidth>());
}

// Calls run with the arithmetic for T as a constant.
template <typename T, typename Run>
cudaError_t with_arithmetic(bool allow_tf32, Run run) {
  using TensorCore = std::integral_constant<Arithmetic, Arithmetic::kTensorCore>;
  if constexpr (std::is_same_v<T, float>) {
    if (!allow_tf32) return run(std::integral_constant<Arithmetic, Arithmetic::kPlain>());
  }
  return run(TensorCore());
}

}  // namespace cuda
}  // namespace vil_mm
