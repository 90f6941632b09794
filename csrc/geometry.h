// Which keys a chunk of queries attends to, and where they lie. Shared by the CPU and the CUDA code.
//
// The grid is cut into chunks of `window` x `window` tokens. A key has a virtual coordinate on each axis: where it
// would lie if chunks did not wrap round the grid. The bias and the exact mask go by virtual coordinates, memory by
// real ones.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define VIL_MM_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define VIL_MM_HOST_DEVICE inline
#endif

namespace vil_mm {

enum class Mask : int { kBlock, kExact, kCyclic };

// `neighbors` as an integer: all of the 3x3 chunks, the own one, or (1 to 8) the own one and that neighbor.
constexpr int kAllNeighbors = 0;
constexpr int kOwnChunk = -1;

VIL_MM_HOST_DEVICE int ceil_div(int a, int b) { return (a + b - 1) / b; }

// A rectangle of chunk offsets, ends excluded.
struct ChunkOffsets {
  int row_begin, row_end, column_begin, column_end;
};

// The attended chunks are one rectangle of them, or two.
VIL_MM_HOST_DEVICE int num_rectangles(int neighbors) { return neighbors > 0 ? 2 : 1; }

VIL_MM_HOST_DEVICE ChunkOffsets rectangle(int neighbors, int index) {
  if (neighbors == kAllNeighbors) return {-1, 2, -1, 2};
  if (index == 0) return {0, 1, 0, 1};
  const int place = neighbors <= 4 ? neighbors - 1 : neighbors;  // in the row-major 3x3, own chunk included
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

  // Real coordinate of a virtual one, or -1 where it is padding: a key and a value of zeros. At most one turn round.
  VIL_MM_HOST_DEVICE int real(int coordinate) const {
    const int period = padded();
    const int wrapped = coordinate < 0 ? coordinate + period : coordinate >= period ? coordinate - period : coordinate;
    return wrapped < length ? wrapped : -1;
  }
};

// The virtual coordinates, ascending, of the keys that an axis shows to a run of chunks.
struct AxisKeys {
  int begin;      // the first one
  int count;      // how many
  int gap_begin;  // hidden padding: coordinates from here on ...
  int gap;        // ... are that much further

  VIL_MM_HOST_DEVICE int coordinate(int index) const {
    const int coordinate = begin + index;
    return coordinate < gap_begin ? coordinate : coordinate + gap;
  }
  // How many come before a virtual coordinate, which itself is no hidden padding.
  VIL_MM_HOST_DEVICE int index(int coordinate) const {
    return coordinate - begin - (coordinate >= gap_begin + gap ? gap : 0);
  }
};

// Keys of the chunks [chunk_begin, chunk_end), which may reach one chunk over either end of the grid.
VIL_MM_HOST_DEVICE AxisKeys axis_keys(const Axis& axis, int chunk_begin, int chunk_end) {
  int begin = chunk_begin * axis.window, end = chunk_end * axis.window;
  if (!axis.cyclic) {
    begin = begin < 0 ? 0 : begin;
    end = end > axis.length ? axis.length : end;
    return {begin, end > begin ? end - begin : 0, end, 0};
  }
  // Only padding reached without wrapping round is hidden.
  const int padded = axis.padded();
  if (begin >= padded || end < padded) return {begin, end - begin, end, 0};
  const int gap = padded - axis.length;
  return {begin, end - begin - gap, axis.length, gap};
}

// Rows and columns of the bias table's grid, and the row of the table for query minus key, in virtual coordinates.
VIL_MM_HOST_DEVICE int bias_side(int window) { return 4 * window - 1; }

VIL_MM_HOST_DEVICE int bias_index(int rows, int columns, int window) {
  return (rows + 2 * window - 1) * bias_side(window) + columns + 2 * window - 1;
}

// Whether the exact mask shows a key that lies so many tokens away on an axis.
VIL_MM_HOST_DEVICE bool within_window(int distance, int window) { return distance <= window && distance >= -window; }

}  // namespace vil_mm
