// Shared memory of a block. A kernel's layout is described once, by the constructor of a structure of pointers: the
// host runs it to size a launch, the kernel to take the pieces.
#pragma once

#include "bias_table.cuh"
#include "launch.cuh"
#include "products.cuh"

namespace vil_mm {
namespace cuda {

// Columns of scores that a warp holds in registers at a time.
constexpr int kMaxTileColumns = 64;
template <typename T, int kWidth>
constexpr int kTileColumns = sizeof(T) == 2 && kWidth <= 64 ? kMaxTileColumns : 32;

// How a block is made up; the same for all blocks of a launch.
struct BlockShape {
  int warps;
  int stages;  // 2: the next tiles are being copied while these are worked on

  VIL_MM_HOST_DEVICE int rows() const { return warps * kWarpRows; }
  VIL_MM_HOST_DEVICE int threads() const { return warps * kWarpSize; }
};
constexpr int kMaxTileRows = kMaxWarps * kWarpRows;

// Hands out the current block's shared memory piece by piece.
class SharedMemory {
 public:
  VIL_MM_HOST_DEVICE explicit SharedMemory(char* begin) : next_(begin) {}

  template <typename Element>
  VIL_MM_HOST_DEVICE Element* take(int count) {
    Element* piece = reinterpret_cast<Element*>(next_);
    next_ += count * sizeof(Element);
    return piece;
  }

 private:
  char* next_;
};

// Counts what would be handed out.
class SharedMemorySize {
 public:
  template <typename Element>
  VIL_MM_HOST_DEVICE Element* take(int count) {
    bytes_ += count * sizeof(Element);
    return nullptr;
  }

  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_ = 0;
};

// What the kernels need to know about each place of a tile, besides its tokens.
struct TileNotes {
  int* term;
  union {
    float* bias;    // of keys
    float* offset;  // of queries: minus the logarithm of the softmax's sum
  };
  // For queries, in the backward pass.
  float* delta;
  float* correction;

  template <typename Memory>
  static VIL_MM_HOST_DEVICE TileNotes take(Memory& memory, int count) {
    return {memory.template take<int>(count),
            {memory.template take<float>(count)},
            memory.template take<float>(count),
            memory.template take<float>(count)};
  }

  VIL_MM_DEVICE TileNotes at(int place) const {
    return {term + place, {bias + place}, delta + place, correction + place};
  }
};

// The rows of tokens of one tensor.
template <int kWidth, typename T, typename Memory>
VIL_MM_HOST_DEVICE T* take_tile(Memory& memory, int places) {
  static_assert(kRowStride<T, kWidth> % kElementsOf16Bytes<T> == 0, "rows are copied in pieces of 16 bytes");
  return memory.template take<T>(places * kRowStride<T, kWidth>);
}

// Tokens of two tensors for the same places, such as keys and values.
template <typename T, int kWidth>
struct TilePair {
  T *first, *second;

  template <typename Memory>
  static VIL_MM_HOST_DEVICE TilePair take(Memory& memory, int places) {
    return {take_tile<kWidth, T>(memory, places), take_tile<kWidth, T>(memory, places)};
  }

  // The tiles from a place on.
  VIL_MM_DEVICE TilePair at(int place) const {
    constexpr int kStride = kRowStride<T, kWidth>;
    return {first + place * kStride, second + place * kStride};
  }
};

// The head's bias table, if the kernel reads it from shared memory.
template <typename Memory>
VIL_MM_HOST_DEVICE float* take_table(Memory& memory, const Table& table) {
  return memory.template take<float>(table.data != nullptr && table.in_shared ? table.size : 0);
}

template <typename Layout>
size_t shared_bytes(const BlockShape& shape, const Table& table) {
  SharedMemorySize size;
  Layout(size, shape, table);
  return size.bytes();
}

}  // namespace cuda
}  // namespace vil_mm
