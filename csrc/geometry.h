// Which keys a chunk of queries attends to, and where they lie. Shared by the CPU and the CUDA code.
//
// The grid is cut into chunks of `window` x `window` tokens. A key has a virtual coordinate on each axis: where it
// would lie if chunks did not wrap around the grid. The bias and the exact mask depend on virtual coordinates, places
// in memory on real ones.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define VIL_MM_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define VIL_MM_HOST_DEVICE inline
#endif

namespace vil_mm {

enum class Mask : int { kBlock, kExact, kCyclic };

// `neighbors` as an integer: all of the 3x3 chunks, the query's own chunk, or (1 to 8) the own chunk and that neighbor.
constexpr int kAllNeighbors = 0;
constexpr int kOwnChunk = -1;
constexpr int kLastNeighbor = 8;

// Places in the bias table of a larger window would not fit in 32-bit integers.
constexpr int kMaxWindow = 4096;

VIL_MM_HOST_DEVICE constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }

// A rectangle of chunk offsets, ends excluded.
struct ChunkOffsets {
  int row_begin, row_end, column_begin, column_end;
};

// The attended chunks form one rectangle or two.
VIL_MM_HOST_DEVICE int num_rectangles(int neighbors) { return neighbors > 0 ? 2 : 1; }

VIL_MM_HOST_DEVICE ChunkOffsets rectangle(int neighbors, int index) {
  if (neighbors == kAllNeighbors) return {-1, 2, -1, 2};
  if (index == 0) return {0, 1, 0, 1};
  constexpr int kBeforeOwnChunk = kLastNeighbor / 2;
  const int place =
      neighbors <= kBeforeOwnChunk ? neighbors - 1 : neighbors;  // in the row-major 3x3, own chunk included
  const int row = place / 3 - 1, column = place % 3 - 1;
  return {row, row + 1, column, column + 1};
}

// One axis of the grid.
struct Axis {
  int length;  // tokens
  int window;
  bool cyclic;

  VIL_MM_HOST_DEVICE int chunks() const { return ceil_div(length, window); }
  VIL_MM_HOST_DEVICE int padded() const { return chunks() * window; }

  // Real coordinate of a virtual one that wraps around at most once, or -1 for padding: a key and a value of zeros.
  VIL_MM_HOST_DEVICE int real(int coordinate) const {
    const int period = padded();
    const int wrapped = coordinate < 0 ? coordinate + period : coordinate >= period ? coordinate - period : coordinate;
    return wrapped < length ? wrapped : -1;
  }
};

// The ascending virtual coordinates of the keys that a run of chunks sees along an axis.
struct AxisKeys {
  int begin;      // the first coordinate
  int count;      // the number of keys
  int gap_begin;  // hidden padding begins here ...
  int gap;        // ... and is this long

  VIL_MM_HOST_DEVICE int coordinate(int index) const {
    const int coordinate = begin + index;
    return coordinate < gap_begin ? coordinate : coordinate + gap;
  }
};

// Keys of the chunks [chunk_begin, chunk_end), which may reach one chunk beyond either end of the grid.
VIL_MM_HOST_DEVICE AxisKeys axis_keys(const Axis& axis, int chunk_begin, int chunk_end) {
  int begin = chunk_begin * axis.window, end = chunk_end * axis.window;
  if (!axis.cyclic) {
    begin = begin < 0 ? 0 : begin;
    end = end > axis.length ? axis.length : end;
    return {begin, end > begin ? end - begin : 0, end, 0};
  }
  // Only padding reached without wrapping around is hidden.
  const int padded = axis.padded();
  if (begin >= padded || end < padded) return {begin, end - begin, end, 0};
  const int gap = padded - axis.length;
  return {begin, end - begin - gap, axis.length, gap};
}

// The side of the bias table, which is a square.
VIL_MM_HOST_DEVICE constexpr int bias_side(int window) { return 4 * window - 1; }

// The place in the table for query minus key, in virtual coordinates.
VIL_MM_HOST_DEVICE constexpr int bias_index(int rows, int columns, int window) {
  return (rows + 2 * window - 1) * bias_side(window) + columns + 2 * window - 1;
}

struct Distance {
  int rows, columns;
};

// The inverse of bias_index.
VIL_MM_HOST_DEVICE constexpr Distance bias_distance(int index, int window) {
  return {index / bias_side(window) - 2 * window + 1, index % bias_side(window) - 2 * window + 1};
}

// Whether the exact mask shows a key this many tokens away on an axis.
VIL_MM_HOST_DEVICE bool within_window(int distance, int window) { return distance <= window && distance >= -window; }

}  // namespace vil_mm
