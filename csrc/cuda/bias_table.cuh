// The bias table as the kernels read it: in the scores' unit, with the exact mask in it, and with zeros at its end for
// keys that have no place on the grid. Coordinates are relative to the query's chunk: queries 0 to window - 1.
#pragma once

#include <cuda_runtime.h>

#include "../problem.h"

namespace vil_mm {
namespace cuda {

constexpr float kLog2E = 1.4426950408889634f;

// Scores, biases and logarithms of the softmax's sum are multiplied by this. 16-bit types have them as exponents of 2,
// the exponential that the hardware offers. Of float they stay as they are: no bias is rounded once more, and what is
// left to multiply is small where the softmax's weight is large.
template <typename T>
constexpr float kScoreUnit = sizeof(T) == 2 ? kLog2E : 1.f;

// An entry of the table is at query_term + key_term. Both are linear in the coordinates.
VIL_MM_HOST_DEVICE int query_term(int row, int column, int window) { return bias_index(row, column, window); }
VIL_MM_HOST_DEVICE int key_term(int row, int column, int window) { return -(row * bias_side(window) + column); }

// The term of keys off the grid: with any query of a chunk it leads to one of the zeros.
VIL_MM_HOST_DEVICE int num_entries(int window) { return bias_side(window) * bias_side(window); }
VIL_MM_HOST_DEVICE int no_key_term(int window) { return num_entries(window) - query_term(0, 0, window); }

// Floats of a head: entries and zeros, a multiple of 16 bytes.
VIL_MM_HOST_DEVICE int prepared_size(int window) {
  const int last_zero = query_term(window - 1, window - 1, window) + no_key_term(window);
  return ceil_div(last_zero + 1, 4) * 4;
}

// Whether the scores need the table: for its bias, or for the mask.
VIL_MM_HOST_DEVICE bool needs_table(const Problem& problem, bool has_bias_table) {
  return has_bias_table || problem.mask == Mask::kExact;
}

// Floats of all heads' prepared tables.
VIL_MM_HOST_DEVICE size_t prepared_workspace(const Problem& problem, bool has_bias_table) {
  return needs_table(problem, has_bias_table) ? problem.heads * prepared_size(problem.window) : 0;
}

// The prepared tables. In kernels they are in shared memory, unless they are large.
struct Table {
  const float* data;  // (heads, size); null: not needed
  int size;
  bool in_shared;
};

// Writes them, from (heads, entries) or null.
cudaError_t prepare_table(const Problem& problem, const float* bias_table, float unit, float* workspace,
                          cudaStream_t stream, Table* table);

}  // namespace cuda
}  // namespace vil_mm
