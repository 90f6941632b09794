// What the kernels of the backward pass have in common.
#pragma once

#include "block.cuh"
#include "scores.cuh"

namespace vil_mm {
namespace cuda {

// Arguments of all of them.
template <typename T>
struct BackwardArguments {
  Backward<T> pass;
  Table table;
  BlockShape shape;
  int row_tiles;  // of a chunk
  bool aligned;
  float* delta;  // (batch, heads, h * w): what the softmax subtracts from the gradients of a query's scores
  // Only for exact kernels: the factor that a query's weights still lack, (batch, heads, h * w), and what is added to
  // scores so that exponentials are of numbers near 0, which are rounded least.
  float* correction;
  float shift;
};

// How the gradients of the global tokens are summed: a head's queries are split, and each split has its part of the
// sum.
struct GlobalParts {
  int queries_per_split, splits;
  float *k, *v;  // (batch * heads, splits, G, d)
  float* bias;   // (batch * heads, splits, G)
};

// How the gradient of the bias table is summed. A unit is a tile of the chunk's queries in a head; its images and
// chunks are split, and each split has its part of the sum. Units are worked on in groups, so that the parts take
// little memory.
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

// Hands out the workspace, or only measures it if it is null. The plan depends only on the problem, so that results are
// the same on any device.
BackwardWorkspace plan_workspace(const Problem& problem, bool has_bias_table, bool is_float, float* workspace);

// A tile of rows, queries or keys, and tiles of the others as columns. Queries come with the gradients of their
// outputs, keys with their values.
template <typename T, int kWidth>
struct BackwardLayout {
  // Fewer than the forward has where more would leave too few registers.
  static constexpr int kColumns = kWidth <= 32 ? kTileColumns<T, kWidth> : 32;

  T *first_rows, *second_rows;
  TilePair<T, kWidth> columns;
  TileNotes notes;  // of columns
  float* table;

  template <typename Memory>
  VIL_MM_HOST_DEVICE BackwardLayout(Memory& memory, const BlockShape& shape, const Table& bias_table)
      : first_rows(take_tile<kWidth, T>(memory, shape.rows())),
        second_rows(take_tile<kWidth, T>(memory, shape.rows())),
        columns(TilePair<T, kWidth>::take(memory, shape.stages * kColumns)),
        notes(TileNotes::take(memory, shape.stages * kColumns)),
        table(take_table(memory, bias_table)) {}
};

// The gradient of a query's score before scale, from its softmax weight.
VIL_MM_DEVICE float score_gradient(float weight, float value_gradient, float delta) {
  return weight * (value_gradient - delta);
}

// What turns a query's scores into the exponents of its weights, in the scores' unit: minus the logarithm of the
// softmax's sum. Where there is no query, it is minus infinity, which makes weights 0.
template <typename T>
VIL_MM_DEVICE float score_offset(const BackwardArguments<T>& arguments, int64_t first_query, int token) {
  return token < 0 ? -INFINITY : arguments.shift - kScoreUnit<T> * arguments.pass.lse[first_query + token];
}

// Starts to load a tile of queries and one of their outputs' gradients, with what their scores need.
template <bool kExactly, typename T, int kWidth, typename PlaceOf>
VIL_MM_DEVICE void load_queries(const TilePair<T, kWidth>& tiles, const TileNotes& notes, int count,
                                const HeadTokens<const T>& queries, const HeadTokens<const T>& output_gradients,
                                const BackwardArguments<T>& arguments, int64_t first_query, PlaceOf place_of) {
  const Source<T> sources[] = {{queries, tiles.first}, {output_gradients, tiles.second}};
  load_tiles<kWidth>(sources, count, arguments.pass.inputs.problem.head_width, arguments.aligned, place_of,
                     [&](int index, const Place& place) {
                       notes.term[index] = place.term;
                       notes.offset[index] = score_offset(arguments, first_query, place.token);
                       notes.delta[index] = place.token < 0 ? 0.f : arguments.delta[first_query + place.token];
                       if constexpr (kExactly) {
                         notes.correction[index] =
                             place.token < 0 ? 0.f : arguments.correction[first_query + place.token];
                       }
                     });
}

// The passes over the scores. Those of float are compiled in files of their own, because they take long.
template <typename T, Arithmetic kArithmetic>
cudaError_t backward_queries(BackwardArguments<T> arguments, cudaStream_t stream);
template <typename T, Arithmetic kArithmetic>
cudaError_t backward_keys(const BackwardArguments<T>& arguments, const GlobalParts& parts, cudaStream_t stream);
template <typename T, Arithmetic kArithmetic>
cudaError_t backward_table(const BackwardArguments<T>& arguments, const TableParts& parts, cudaStream_t stream);

}  // namespace cuda
}  // namespace vil_mm
