// Blocks: which part of the problem each one works on, and how large they are.
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

template <typename T>
VIL_MM_DEVICE const float* global_bias_of_head(const Inputs<T>& inputs, int64_t head) {
  return inputs.global_bias == nullptr ? nullptr : inputs.global_bias + head * inputs.problem.num_global;
}

inline int num_row_tiles(const Problem& problem, const BlockShape& shape) {
  return ceil_div(problem.window * problem.window, shape.rows());
}

// The largest block that the device has shared memory for, with as many rows as are needed: its shape, and whether it
// has the table in shared memory. Layout is the kernel's.
template <typename Layout, typename Arguments>
cudaError_t plan_block(void (*kernel)(Arguments), int rows, Table* table, BlockShape* shape, size_t* bytes) {
  const void* function = reinterpret_cast<const void*>(kernel);
  int limit_in_bytes;
  VIL_MM_RETURN_IF_ERROR(allow_shared_memory(function, &limit_in_bytes));
  const size_t limit = limit_in_bytes;
  const size_t table_bytes = table->data == nullptr ? 0 : table->size * sizeof(float);
  constexpr size_t kLargestTable = 36 * 1024;
  for (bool in_shared : {true, false}) {
    if (in_shared && table_bytes > kLargestTable) continue;
    table->in_shared = in_shared;
    for (int warps = kMaxWarps; warps > 0; --warps) {
      if (warps > 1 && (warps - 1) * kWarpRows >= rows) continue;  // the last one would have no rows
      size_t bytes_of[3];
      int blocks_of[3] = {};  // on a multiprocessor, which also has registers for them
      for (int stages : {1, 2}) {
        bytes_of[stages] = shared_bytes<Layout>({warps, stages}, *table);
        if (bytes_of[stages] > limit) continue;
        VIL_MM_RETURN_IF_ERROR(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks_of[stages], function,
                                                                             warps * kWarpSize, bytes_of[stages]));
      }
      if (blocks_of[1] == 0) continue;
      // Two blocks on a multiprocessor hide as much latency as two stages do.
      const bool two_stages = blocks_of[2] >= 2 || (blocks_of[2] == 1 && blocks_of[1] == 1);
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
  constexpr int64_t kElements = kElementsOf16Bytes<T>;
  const bool aligned = reinterpret_cast<uintptr_t>(tokens.data) % 16 == 0 && head_width % kElements == 0 &&
                       tokens.batch_stride % kElements == 0 && tokens.head_stride % kElements == 0 &&
                       tokens.token_stride % kElements == 0;
  if constexpr (sizeof...(others) > 0) {
    return aligned && is_aligned(head_width, others...);
  } else {
    return aligned;
  }
}

// Calls run with the padded head width as a compile-time constant.
template <typename Run>
cudaError_t with_padded_width(int head_width, Run run) {
  if (head_width <= 32) return run(std::integral_constant<int, 32>());
  if (head_width <= 48) return run(std::integral_constant<int, 48>());
  if (head_width <= 64) return run(std::integral_constant<int, 64>());
  if (head_width <= 96) return run(std::integral_constant<int, 96>());
  return run(std::integral_constant<int, kMaxCudaHeadWidth>());
}

// Calls run with the arithmetic for T as a compile-time constant.
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
