// Sums of the parts that the kernels have written, each in a fixed order.
#pragma once

#include <cuda_runtime.h>

#include "../problem.h"

namespace vil_mm {
namespace cuda {

// Gradient of the bias table from (units of a group, splits, rows, columns), where a unit is a tile of rows in a head.
// It is added to what earlier groups of the same head gave.
struct ReduceTable {
  Problem problem;
  const float* parts;
  int splits, rows, columns;
  int row_tiles;  // of a head
  int64_t unit_begin, unit_end;
  float* grad_table;  // (heads, entries)
};

cudaError_t reduce_table(const ReduceTable& arguments, cudaStream_t stream);

// Gradient of the global bias, (heads, G), from (batch, heads, splits, G).
struct ReduceGlobalBias {
  int64_t batch, heads;
  int splits, num_global;
  const float* parts;
  float* grad_global_bias;
};

cudaError_t reduce_global_bias(const ReduceGlobalBias& arguments, cudaStream_t stream);

}  // namespace cuda
}  // namespace vil_mm
