// The bias table as the kernels read it: in the scores' unit, with the exact mask applied, and with zeros at its end
// for keys that have no place on the grid. Coordinates are relative to the query's chunk, where queries have 0 to
// window - 1.
#pragma once

#include "../problem.h"
#include "intrinsics.cuh"

namespace vil_mm {
namespace cuda {

constexpr float kLog2E = 1.4426950408889634f;

// Scores, biases and logarithms of the softmax's sum are multiplied by this. For 16-bit types they become exponents of
// 2, for which the hardware has an exponential. For float they stay as they are: no bias is rounded once more, and the
// product left to round is small where the softmax's weight is large.
template <typename T>
constexpr float kScoreUnit = sizeof(T) == 2 ? kLog2E : 1.f;

// The entry of a query and a key is at query_term + key_term. Both are linear in the coordinates.
VIL_MM_HOST_DEVICE constexpr int query_term(int row, int column, int window) { return bias_index(row, column, window); }
VIL_MM_HOST_DEVICE constexpr int key_term(int row, int column, int window) {
  return -(row * bias_side(window) + column);
}

// The term of keys off the grid: together with that of any query of a chunk it leads to one of the zeros.
VIL_MM_HOST_DEVICE constexpr int num_entries(int window) { return bias_side(window) * bias_side(window); }
VIL_MM_HOST_DEVICE constexpr int no_key_term(int window) { return num_entries(window) - query_term(0, 0, window); }

// Floats per head: entries and zeros, a multiple of 16 bytes.
VIL_MM_HOST_DEVICE constexpr int prepared_size(int window) {
  const int last_zero = query_term(window - 1, window - 1, window) + no_key_term(window);
  return ceil_div(last_zero + 1, kElementsOf16Bytes<float>) * kElementsOf16Bytes<float>;
}
static_assert(prepared_size(kMaxWindow) > num_entries(kMaxWindow), "places in the table are 32-bit integers");

// Whether the scores need the table, for the bias or for the mask.
VIL_MM_HOST_DEVICE bool needs_table(const Problem& problem, bool has_bias_table) {
  return has_bias_table || problem.mask == Mask::kExact;
}

// Floats of all heads' prepared tables.
VIL_MM_HOST_DEVICE size_t prepared_workspace(const Problem& problem, bool has_bias_table) {
  return needs_table(problem, has_bias_table) ? problem.heads * prepared_size(problem.window) : 0;
}

// The prepared tables. Kernels copy their head's to shared memory, unless it is large.
struct Table {
  const float* data;  // (heads, size), or null if none is needed
  int size;
  bool in_shared;
};

// Writes them from (heads, entries), or from null if there are only a mask's.
cudaError_t prepare_table(const Problem& problem, const float* bias_table, float unit, float* workspace,
                          cudaStream_t stream, Table* table);

}  // namespace cuda
}  // namespace vil_mm
