// Which tokens are the rows and the columns of a block's scores. A chunk is given by its row and column among the
// chunks; coordinates in terms of the bias table are relative to its origin.
#pragma once

#include "bias_table.cuh"
#include "intrinsics.cuh"

namespace vil_mm {
namespace cuda {

// A row or a column of scores.
struct Place {
  int token;   // of the grid, or among keys and values (global tokens first); -1: none, or zeros
  int term;    // of the bias table's index
  float bias;  // in the scores' unit; minus infinity if there is no such row or column
};

struct Chunk {
  int row, column;
};

// Number of chunks of the grid.
VIL_MM_HOST_DEVICE int num_chunks(const Problem& problem) {
  return problem.rows().chunks() * problem.columns().chunks();
}

VIL_MM_HOST_DEVICE Chunk chunk_at(const Problem& problem, int index) {
  const int columns = problem.columns().chunks();
  return {index / columns, index % columns};
}

// The token at an index of a chunk, row-major, or -1 beyond the end of the chunk or of the grid. The row and the column
// inside the chunk are then 0.
VIL_MM_HOST_DEVICE int chunk_token(const Problem& problem, const Chunk& chunk, int index, int* row, int* column) {
  const int window = problem.window;
  *row = index / window, *column = index - *row * window;
  const int grid_row = chunk.row * window + *row, grid_column = chunk.column * window + *column;
  if (*row < window && grid_row < problem.height && grid_column < problem.width) {
    return grid_row * problem.width + grid_column;
  }
  *row = *column = 0;
  return -1;
}

// The queries of a chunk, as rows.
VIL_MM_DEVICE Place chunk_query(const Problem& problem, const Chunk& chunk, int index) {
  int row, column;
  const int token = chunk_token(problem, chunk, index, &row, &column);
  return {token, query_term(row, column, problem.window), 0.f};
}

// The keys of a chunk, as rows.
VIL_MM_DEVICE Place chunk_key(const Problem& problem, const Chunk& chunk, int index) {
  int row, column;
  const int token = chunk_token(problem, chunk, index, &row, &column);
  return {token < 0 ? -1 : problem.num_global + token, key_term(row, column, problem.window), 0.f};
}

// The tokens of two rectangles of virtual coordinates one after the other, each row-major.
struct TwoRectangles {
  AxisKeys rows[2], columns[2];
  int size_of_first, size;

  VIL_MM_HOST_DEVICE void set(int index, const AxisKeys& row_keys, const AxisKeys& column_keys) {
    rows[index] = row_keys;
    columns[index] = column_keys;
    const int count = row_keys.count * column_keys.count;
    if (index == 0) size_of_first = count;
    size = index == 0 ? count : size + count;
  }

  // Virtual coordinates of the token at an index.
  VIL_MM_HOST_DEVICE void coordinates(int index, int* row, int* column) const {
    const bool second = index >= size_of_first;
    const AxisKeys row_keys = second ? rows[1] : rows[0], column_keys = second ? columns[1] : columns[0];
    const int place = second ? index - size_of_first : index;
    const int row_index = place / column_keys.count;
    *row = row_keys.coordinate(row_index);
    *column = column_keys.coordinate(place - row_index * column_keys.count);
  }
};

// The keys that a chunk's queries see: the global ones, then those of the neighborhood.
class Keys {
 public:
  VIL_MM_DEVICE Keys(const Problem& problem, const Chunk& chunk, const float* global_bias, float unit)
      : problem_(problem), chunk_(chunk), global_bias_(global_bias), unit_(unit) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (i >= num_rectangles(problem.neighbors)) break;
      const ChunkOffsets offsets = rectangle(problem.neighbors, i);
      local_.set(i, axis_keys(problem.rows(), chunk.row + offsets.row_begin, chunk.row + offsets.row_end),
                 axis_keys(problem.columns(), chunk.column + offsets.column_begin, chunk.column + offsets.column_end));
    }
  }

  VIL_MM_DEVICE int size() const { return problem_.num_global + local_.size; }

  VIL_MM_DEVICE Place place(int index) const {
    const int window = problem_.window;
    if (index >= size()) return {-1, no_key_term(window), -INFINITY};
    if (index < problem_.num_global) {
      return {index, no_key_term(window), global_bias_ == nullptr ? 0.f : global_bias_[index] * unit_};
    }
    int row, column;
    local_.coordinates(index - problem_.num_global, &row, &column);
    const int real_row = problem_.rows().real(row), real_column = problem_.columns().real(column);
    const bool zeros = real_row < 0 || real_column < 0;
    return {zeros ? -1 : problem_.num_global + real_row * problem_.width + real_column,
            key_term(row - chunk_.row * window, column - chunk_.column * window, window), 0.f};
  }

 private:
  const Problem& problem_;
  const Chunk chunk_;
  const float* const global_bias_;  // of the head
  const float unit_;                // of scores
  TwoRectangles local_;
};

// The queries that see a chunk's keys.
class Seers {
 public:
  VIL_MM_DEVICE Seers(const Problem& problem, const Chunk& chunk) : problem_(problem), chunk_(chunk) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (i >= num_rectangles(problem.neighbors)) break;
      const ChunkOffsets offsets = rectangle(problem.neighbors, i);
      queries_.set(
          i, axis(problem.rows(), chunk.row - offsets.row_end + 1, chunk.row - offsets.row_begin + 1),
          axis(problem.columns(), chunk.column - offsets.column_end + 1, chunk.column - offsets.column_begin + 1));
    }
  }

  VIL_MM_DEVICE int size() const { return queries_.size; }

  VIL_MM_DEVICE Place place(int index) const {
    const int window = problem_.window;
    if (index < size()) {
      int row, column;
      queries_.coordinates(index, &row, &column);
      const int real_row = problem_.rows().real(row), real_column = problem_.columns().real(column);
      if (real_row >= 0 && real_column >= 0) {
        return {real_row * problem_.width + real_column,
                query_term(row - chunk_.row * window, column - chunk_.column * window, window), 0.f};
      }
    }
    return {-1, query_term(0, 0, window), -INFINITY};
  }

 private:
  // A wrapped chunk includes its padding; place() leaves it out.
  static VIL_MM_DEVICE AxisKeys axis(const Axis& axis, int chunk_begin, int chunk_end) {
    if (!axis.cyclic) return axis_keys(axis, chunk_begin, chunk_end);
    const int begin = chunk_begin * axis.window, end = chunk_end * axis.window;
    return {begin, end - begin, end, 0};
  }

  const Problem& problem_;
  const Chunk chunk_;
  TwoRectangles queries_;
};

// The keys of any chunk's neighborhood, numbered the same way for all chunks, for sums over chunks.
class RelativeKeys {
 public:
  VIL_MM_HOST_DEVICE explicit RelativeKeys(const Problem& problem) : problem_(problem) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (i >= num_rectangles(problem.neighbors)) break;
      const ChunkOffsets offsets = rectangle(problem.neighbors, i);
      keys_.set(i, run(offsets.row_begin, offsets.row_end), run(offsets.column_begin, offsets.column_end));
    }
  }

  VIL_MM_HOST_DEVICE int size() const { return keys_.size; }

  // The index of the key at this row and column from the chunk's origin, or -1.
  VIL_MM_HOST_DEVICE int index(int row, int column) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (i >= num_rectangles(problem_.neighbors)) break;
      const int row_index = row - keys_.rows[i].begin, column_index = column - keys_.columns[i].begin;
      if (row_index >= 0 && row_index < keys_.rows[i].count && column_index >= 0 &&
          column_index < keys_.columns[i].count) {
        return (i == 0 ? 0 : keys_.size_of_first) + row_index * keys_.columns[i].count + column_index;
      }
    }
    return -1;
  }

  VIL_MM_DEVICE Place place(int index, const Chunk& chunk) const {
    const int window = problem_.window;
    if (index >= size()) return {-1, key_term(0, 0, window), -INFINITY};
    int row, column;
    keys_.coordinates(index, &row, &column);
    const int term = key_term(row, column, window);
    const int grid_row = chunk.row * window + row, grid_column = chunk.column * window + column;
    if (!visible(problem_.rows(), grid_row) || !visible(problem_.columns(), grid_column)) return {-1, term, -INFINITY};
    const int real_row = problem_.rows().real(grid_row), real_column = problem_.columns().real(grid_column);
    const bool zeros = real_row < 0 || real_column < 0;
    return {zeros ? -1 : problem_.num_global + real_row * problem_.width + real_column, term, 0.f};
  }

 private:
  VIL_MM_HOST_DEVICE AxisKeys run(int chunk_begin, int chunk_end) const {
    const int begin = chunk_begin * problem_.window, end = chunk_end * problem_.window;
    return {begin, end - begin, end, 0};
  }

  static VIL_MM_DEVICE bool visible(const Axis& axis, int coordinate) {
    if (axis.cyclic) return coordinate < axis.length || coordinate >= axis.padded();
    return coordinate >= 0 && coordinate < axis.length;
  }

  const Problem& problem_;
  TwoRectangles keys_;
};

}  // namespace cuda
}  // namespace vil_mm
