// Small matrix products in registers: the right-hand side is read in whole vectors, the left one element by element.
#pragma once

#include "vector.h"

namespace vil_mm {
namespace {

// Accumulators of a tile: as many as the registers hold.
#if VIL_MM_VECTOR_BYTES == 64
constexpr int kTileRows = 8, kTileVectors = 3;
#else
constexpr int kTileRows = 6, kTileVectors = 2;
#endif
constexpr int kMaxDepth = 64;
// For loops over a tile: if they were not unrolled, the accumulators would be kept in memory.
#define VIL_MM_UNROLL _Pragma("GCC unroll 8")

// A matrix whose element (i, j) is data[i * row_stride + j * column_stride].
template <typename Real>
struct Matrix {
  Real* data = nullptr;
  int64_t row_stride = 0, column_stride = 1;

  VIL_MM_INLINE Real* row(int64_t i) const { return data + i * row_stride; }
};

// What is added to a product: nothing (no data), or rows of a matrix, which `order` may rearrange.
template <typename Real>
struct Addend {
  const Real* data = nullptr;
  int64_t row_stride = 0;
  const int* order = nullptr;

  VIL_MM_INLINE const Real* row(int64_t i) const { return data + (order ? order[i] : i) * row_stride; }
};

// A product's operands, see multiply().
template <typename Real>
struct Product {
  Matrix<Real> a, b, c;
  Addend<Real> addend;
  int depth;
};

// Computes `tiles` tiles below each other, whose first element is c[row][column].
template <typename Real, int rows, int vectors>
void multiply_tiles(const Product<Real>& product, int row, int column, int tiles) {
  constexpr int lanes = kLanes<Real>;
  const auto [a, b, c, addend, depth] = product;
  for (const int end = row + tiles * rows; row < end; row += rows) {
    Vector<Real> sums[rows][vectors];
    VIL_MM_UNROLL
    for (int i = 0; i < rows; ++i) {
      VIL_MM_UNROLL
      for (int j = 0; j < vectors; ++j) sums[i][j] = Vector<Real>{};
    }
    const Real* a_row = a.row(row);
    const Real* b_row = b.data + column;
    for (int k = 0; k < depth; ++k, a_row += a.column_stride, b_row += b.row_stride) {
      Vector<Real> right[vectors];
      VIL_MM_UNROLL
      for (int j = 0; j < vectors; ++j) right[j] = load(b_row + j * lanes);
      VIL_MM_UNROLL
      for (int i = 0; i < rows; ++i) {
        VIL_MM_UNROLL
        for (int j = 0; j < vectors; ++j) sums[i][j] += a_row[i * a.row_stride] * right[j];
      }
    }
    // added last, so that the sums are rounded relative to their own size
    VIL_MM_UNROLL
    for (int i = 0; i < rows; ++i) {
      Real* target = c.row(row + i) + column;
      const Real* source = addend.data ? addend.row(row + i) + column : nullptr;
      VIL_MM_UNROLL
      for (int j = 0; j < vectors; ++j)
        store(target + j * lanes, source ? load(source + j * lanes) + sums[i][j] : sums[i][j]);
    }
  }
}

template <typename Real, int rows = kTileRows, int vectors = kTileVectors>
VIL_MM_INLINE void multiply_tiles(int tile_rows, int tile_vectors, const Product<Real>& product, int row, int column,
                                  int tiles) {
  if constexpr (rows > 1) {
    if (tile_rows < rows)
      return multiply_tiles<Real, rows - 1, vectors>(tile_rows, tile_vectors, product, row, column, tiles);
  }
  if constexpr (vectors > 1) {
    if (tile_vectors < vectors)
      return multiply_tiles<Real, rows, vectors - 1>(tile_rows, tile_vectors, product, row, column, tiles);
  }
  multiply_tiles<Real, rows, vectors>(product, row, column, tiles);
}

// Where part `index` of several nearly equal ones begins.
VIL_MM_INLINE int part_begin(int total, int parts, int index) {
  return total / parts * index + smaller(total % parts, index);
}

// c = addend + a b, for `rows` x `columns` of c. Columns of b and c are read and written up to the next whole vector.
// Long sums are split into shorter ones to keep rounding errors small.
template <typename Real>
void multiply(int rows, int columns, int depth, Matrix<Real> a, Matrix<Real> b, Matrix<Real> c,
              Addend<Real> addend = {}) {
  constexpr int lanes = kLanes<Real>;
  const int vectors = ceil_div(columns, lanes), column_tiles = ceil_div(vectors, kTileVectors);
  const int row_tiles = ceil_div(rows, kTileRows), small_tile = rows / row_tiles, large_tiles = rows % row_tiles;
  const int sums = ceil_div(depth, kMaxDepth);
  for (int sum = 0; sum < sums; ++sum) {
    const int begin = part_begin(depth, sums, sum), length = part_begin(depth, sums, sum + 1) - begin;
    const Matrix<Real> left = {a.data + begin * a.column_stride, a.row_stride, a.column_stride};
    const Product<Real> product = {left, {b.row(begin), b.row_stride}, c, addend, length};
    for (int tile = 0; tile < column_tiles; ++tile) {
      const int vector = part_begin(vectors, column_tiles, tile), column = vector * lanes;
      const int tile_vectors = part_begin(vectors, column_tiles, tile + 1) - vector;
      multiply_tiles<Real>(small_tile + 1, tile_vectors, product, 0, column, large_tiles);
      multiply_tiles<Real>(small_tile, tile_vectors, product, large_tiles * (small_tile + 1), column,
                           row_tiles - large_tiles);
    }
    addend = {c.data, c.row_stride};
  }
}

// For each lane, the element of the two concatenated vectors that `lanes` names.
template <typename Real>
VIL_MM_INLINE Vector<Real> shuffle(Vector<Real> first, Vector<Real> second,
                                   Vector<typename Exponential<Real>::Integer> lanes) {
#if defined(__clang__)
  Vector<Real> result;
  for (int i = 0; i < kLanes<Real>; ++i)
    result[i] = lanes[i] < kLanes<Real> ? first[lanes[i]] : second[lanes[i] - kLanes<Real>];
  return result;
#else
  return __builtin_shuffle(first, second, lanes);
#endif
}

// Transposes a square of whole vectors: in step `distance`, rows that far apart swap lanes that far apart.
template <typename Real, int distance = 1>
VIL_MM_INLINE void transpose_square(Vector<Real>* rows) {
  constexpr int lanes = kLanes<Real>;
  if constexpr (distance < lanes) {
    Vector<typename Exponential<Real>::Integer> even, odd;
    for (int lane = 0; lane < lanes; ++lane) {
      even[lane] = lane & distance ? lanes + lane - distance : lane;
      odd[lane] = lane & distance ? lanes + lane : lane + distance;
    }
    for (int i = 0; i < lanes; ++i) {
      if (i & distance) continue;
      const Vector<Real> first = rows[i], second = rows[i + distance];
      rows[i] = shuffle<Real>(first, second, even);
      rows[i + distance] = shuffle<Real>(first, second, odd);
    }
    transpose_square<Real, 2 * distance>(rows);
  }
}

// target[j][i] = source[i][j]. Rows and columns of both are read and written up to whole vectors.
template <typename Real>
void transpose(int64_t rows, int64_t columns, Matrix<Real> source, Matrix<Real> target) {
  constexpr int lanes = kLanes<Real>;
  Vector<Real> square[lanes];
  for (int64_t row = 0; row < rows; row += lanes) {
    for (int64_t column = 0; column < columns; column += lanes) {
      for (int i = 0; i < lanes; ++i) square[i] = load(source.row(row + i) + column);
      transpose_square<Real>(square);
      for (int i = 0; i < lanes; ++i) store(target.row(column + i) + row, square[i]);
    }
  }
}

}  // namespace
}  // namespace vil_mm
