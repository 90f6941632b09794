// What the kernels of the backward pass share.
#pragma once

#include "block.cuh"
#include "scores.cuh"

namespace vil_mm {
namespace cuda {

// What all of them are given.
template <typename T>
struct BackwardArguments {
  Backward<T> pass;
  Table table;
  BlockShape shape;
  int row_tiles;  // of a chunk
  bool aligned;
  // Of queries, (batch, heads, h * w).
  float* delta;  // what the softmax takes off the gradients of the scores
  // Of exact kernels alone: the factor that weights still lack, and what is added to scores so that their exponentials
  // are of numbers near 0, which are rounded least.
  float* correction;
  float shift;
};

// How the gradients of the global tokens are summed: the queries of a head in splits, each with its part of the sum.
struct GlobalParts {
  int queries_per_split, splits;
  float *k, *v;  // (batch * heads, splits, G, d)
  float* bias;   // (batch * heads, splits, G)
};

// How the gradient of the bias table is summed. A unit is a tile of the chunk's queries in a head; its images and
// chunks come in splits, each with its part of the sum. Units are worked on in groups, so that the parts take little
// memory.
struct TableParts {
  int splits;
  size_t size;  // in floats
  float* data;  // (units of a group, splits, rows, columns)
};

struct BackwardWorkspace {
  float* prepared_table;
  float *delta, *correction;
  GlobalParts global;
  TableParts table;
  size_t size;  // in floats
};

// Depends on the problem alone, so that results are the same on any device.
BackwardWorkspace plan_workspace(const Problem& problem, bool has_bias_table, bool is_float, float* workspace);

// Columns of scores at a time, where more of them would leave too few registers.
template <typename T, int kWidth>
constexpr int kBackwardColumns = kWidth <= 32 ? kTileColumns<T, kWidth> : 32;

// The gradient of a query's score before scale, from its softmax weight.
VIL_MM_DEVICE float score_gradient(float weight, float value_gradient, float delta) {
  return weight * (value_gradient - delta);
}

// What makes of a query's scores the exponents of its weights, in the scores' unit: the softmax's sum taken off. Of no
// query: minus infinity, which makes weights 0.
template <typename T>
VIL_MM_DEVICE float score_offset(const BackwardArguments<T>& arguments, int64_t first_query, int token) {
  return token < 0 ? -INFINITY : arguments.shift - kScoreUnit<T> * arguments.pass.lse[first_query + token];
}

}  // namespace cuda
}  // namespace vil_mm
