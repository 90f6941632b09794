// Small matrix products in registers: the right-hand side is read in whole vectors, the left one element by element.
#pragma once

#include "operands.h"

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

// What is added to a product: nothing (no data), or rows of a matrix, which `order` may rearrange.
template <typename Real>
struct Addend {
  const Real* data = nullptr;
  int64_t row_stride = 0;
  const int* order = nullptr;

  VIL_MM_INLINE const Real* row(int64_t i) const { return data + (order ? order[i] : i) * row_stride; }
};

// A product's operands, see multiply().
template <typename Operand>
struct Product {
  Matrix<Operand> a, b;
  Matrix<Sum<Operand>> c;
  Sum<Operand> factor;
  Addend<Sum<Operand>> addend;
  int depth;
};

// Computes `tiles` tiles below each other, whose first element is c[row][column].
template <typename Operand, int rows, int vectors>
void multiply_tiles(const Product<Operand>& product, int row, int column, int tiles) {
  using Real = Sum<Operand>;
  constexpr int lanes = kLanes<Real>;
  const auto [a, b, c, factor, addend, depth] = product;
  for (const int end = row + tiles * rows; row < end; row += rows) {
    Vector<Real> sums[rows][vectors];
    VIL_MM_UNROLL
    for (int i = 0; i < rows; ++i) {
      VIL_MM_UNROLL
      for (int j = 0; j < vectors; ++j) sums[i][j] = Vector<Real>{};
    }
    const Operand* a_row = a.row(row);
    const Operand* b_row = b.data + column;
    for (int k = 0; k < depth; ++k, a_row += a.column_stride, b_row += b.row_stride) {
      Vector<Operand> right[vectors];
      VIL_MM_UNROLL
      for (int j = 0; j < vectors; ++j) right[j] = load(b_row + j * lanes);
      VIL_MM_UNROLL
      for (int i = 0; i < rows; ++i) {
        VIL_MM_UNROLL
        for (int j = 0; j < vectors; ++j) sums[i][j] = multiply_add(sums[i][j], a_row[i * a.row_stride], right[j]);
      }
    }
    // added last, so that the sums are rounded relative to their own size
    VIL_MM_UNROLL
    for (int i = 0; i < rows; ++i) {
      Real* target = c.row(row + i) + column;
      const Real* source = addend.data ? addend.row(row + i) + column : nullptr;
      VIL_MM_UNROLL
      for (int j = 0; j < vectors; ++j)
        store(target + j * lanes, source ? load(source + j * lanes) + factor * sums[i][j] : factor * sums[i][j]);
    }
  }
}

template <typename Operand, int rows = kTileRows, int vectors = kTileVectors>
VIL_MM_INLINE void multiply_tiles(int tile_rows, int tile_vectors, const Product<Operand>& product, int row, int column,
                                  int tiles) {
  if constexpr (rows > 1) {
    if (tile_rows < rows)
      return multiply_tiles<Operand, rows - 1, vectors>(tile_rows, tile_vectors, product, row, column, tiles);
  }
  if constexpr (vectors > 1) {
    if (tile_vectors < vectors)
      return multiply_tiles<Operand, rows, vectors - 1>(tile_rows, tile_vectors, product, row, column, tiles);
  }
  multiply_tiles<Operand, rows, vectors>(product, row, column, tiles);
}

// Where part `index` of several nearly equal ones begins.
VIL_MM_INLINE int part_begin(int total, int parts, int index) {
  return total / parts * index + smaller(total % parts, index);
}

// c = addend + factor a b, for `rows` x `columns` of c and `depth` numbers in each sum. Columns of b and c are read and
// written up to the next whole vector. Long sums are split into shorter ones to keep rounding errors small.
template <typename Operand>
void multiply(int rows, int columns, int depth, Matrix<Operand> a, Matrix<Operand> b, Matrix<Sum<Operand>> c,
              Sum<Operand> factor, Addend<Sum<Operand>> addend = {}) {
  constexpr int lanes = kLanes<Operand>;
  const int vectors = ceil_div(columns, lanes), column_tiles = ceil_div(vectors, kTileVectors);
  const int row_tiles = ceil_div(rows, kTileRows), small_tile = rows / row_tiles, large_tiles = rows % row_tiles;
  const int operands = ceil_div(depth, kPacked<Operand>), sums = ceil_div(operands, kMaxDepth);
  for (int sum = 0; sum < sums; ++sum) {
    const int begin = part_begin(operands, sums, sum), length = part_begin(operands, sums, sum + 1) - begin;
    const Matrix<Operand> left = {a.data + begin * a.column_stride, a.row_stride, a.column_stride};
    const Product<Operand> product = {left, {b.row(begin), b.row_stride}, c, factor, addend, length};
    for (int tile = 0; tile < column_tiles; ++tile) {
      const int vector = part_begin(vectors, column_tiles, tile), column = vector * lanes;
      const int tile_vectors = part_begin(vectors, column_tiles, tile + 1) - vector;
      multiply_tiles<Operand>(small_tile + 1, tile_vectors, product, 0, column, large_tiles);
      multiply_tiles<Operand>(small_tile, tile_vectors, product, large_tiles * (small_tile + 1), column,
                              row_tiles - large_tiles);
    }
    addend = {c.data, c.row_stride};
  }
}

// Transposes a square of whole vectors: in step `distance`, rows that far apart swap lanes that far apart.
template <typename Real, int distance = 1>
VIL_MM_INLINE void transpose_square(Vector<Real>* rows) {
  constexpr int lanes = kLanes<Real>;
  if constexpr (distance < lanes) {
    Vector<Integer<Real>> even, odd;
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
