// Tiles of tokens in shared memory: how they lie there, how they come there, and how a kernel runs over them.
#pragma once

#include "launch.cuh"
#include "neighborhood.cuh"
#include "products.cuh"

namespace vil_mm {
namespace cuda {

// Columns of scores that a warp has in registers at a time.
template <typename T, int kWidth>
constexpr int kTileColumns = sizeof(T) == 2 && kWidth <= 64 ? 64 : 32;

// Whether a warp keeps its rows of the first product in registers.
template <int kWidth>
constexpr bool kRowsInRegisters = kWidth <= 64;

// What a block is made of. The same for all blocks of a launch.
struct BlockShape {
  int warps;
  int stages;  // 2: the next tiles are on their way while these are worked on

  VIL_MM_HOST_DEVICE int rows() const { return warps * kWarpRows; }
  VIL_MM_HOST_DEVICE int threads() const { return warps * kWarpSize; }
};

// What is noted of every place of a tile, beside its tokens.
struct TileNotes {
  int* term;
  union {
    float* bias;    // of keys
    float* offset;  // of queries: minus the logarithm of the softmax's sum
  };
  // Of queries, in the backward.
  float* delta;
  float* correction;

  VIL_MM_DEVICE TileNotes at(int place) const {
    return {term + place, {bias + place}, delta + place, correction + place};
  }
};
constexpr int kNotes = 4;

// The current block's shared memory, given out piece by piece.
class SharedMemory {
 public:
  VIL_MM_DEVICE SharedMemory() : next_(dynamic_shared()) {}

  template <typename Element>
  VIL_MM_DEVICE Element* take(int count) {
    Element* piece = reinterpret_cast<Element*>(next_);
    next_ += count * sizeof(Element);
    return piece;
  }

  VIL_MM_DEVICE TileNotes take_notes(int count) {
    return {take<int>(count), {take<float>(count)}, take<float>(count), take<float>(count)};
  }

 private:
  char* next_;
};

// Calls body(i) for i below count, shared out among the block's threads.
template <typename Body>
VIL_MM_DEVICE void for_each_of_block(int count, Body body) {
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) body(i);
}

// The head's prepared table. Two pointers, so that the compiler knows the memory that each one leads to.
struct LoadedTable {
  const float *shared, *global;
  bool needed, in_shared;
};

VIL_MM_DEVICE LoadedTable load_table(const Table& table, int64_t head, SharedMemory& memory) {
  const bool needed = table.data != nullptr;
  const float* data = table.data + (needed ? head * table.size : 0);
  float* copy = memory.take<float>(needed && table.in_shared ? table.size : 0);
  if (needed && table.in_shared) {
    for_each_of_block(table.size / 4, [&](int i) { copy_16_bytes(copy + 4 * i, data + 4 * i, true); });
  }
  return {copy, data, needed, table.in_shared};
}

// The tokens of a head.
template <typename T>
struct HeadTokens {
  T* data;
  int64_t stride;

  VIL_MM_DEVICE T* at(int token) const { return data + token * stride; }
};

template <typename T>
VIL_MM_DEVICE HeadTokens<T> of_head(const Tokens<T>& tokens, int64_t batch, int64_t head) {
  return {tokens.at(batch, head, 0), tokens.token_stride};
}

// Starts to load a row of a tile, with zeros beyond the head width: this thread's share of it, one of `shares`.
template <int kWidth, typename T>
VIL_MM_DEVICE void load_row(T* row, const T* token, bool present, int head_width, bool aligned, int share, int shares) {
  if (aligned) {
    constexpr int kElements = 16 / sizeof(T);
    for (int i = share * kElements; i < kWidth; i += shares * kElements) {
      copy_16_bytes(row + i, token + i, present && i < head_width);
    }
  } else {
    for (int i = share; i < kWidth; i += shares) {
      if (present && i < head_width) {
        row[i] = token[i];
      } else {
        store(row + i, 0.f);
      }
    }
  }
}

// The tokens that a kernel reads, and where in shared memory it wants them.
template <typename T>
struct Source {
  HeadTokens<const T> tokens;
  T* tile;
};

// Starts to load tiles: place_of(row) says which tokens, and note(row, place) is called once a row.
template <int kWidth, typename T, int kSources, typename PlaceOf, typename Note>
VIL_MM_DEVICE void load_tiles(const Source<T> (&sources)[kSources], int rows, int head_width, bool aligned,
                              PlaceOf place_of, Note note) {
  constexpr int kStride = kRowStride<T, kWidth>;
  const int threads = static_cast<int>(blockDim.x);
  const int shares = threads > rows ? threads / rows : 1;  // of a row
  const int share = static_cast<int>(threadIdx.x) % shares;
  for (int row = static_cast<int>(threadIdx.x) / shares; row < rows; row += threads / shares) {
    const Place place = place_of(row);
    const bool present = place.token >= 0;
    const int token = present ? place.token : 0;
#pragma unroll
    for (int i = 0; i < kSources; ++i) {
      load_row<kWidth>(sources[i].tile + row * kStride, sources[i].tokens.at(token), present, head_width, aligned,
                       share, shares);
    }
    if (share == 0) note(row, place);
  }
}

// Writes the warp's sums, times a factor for each of the lane's rows, to tokens; by way of 16 rows of shared memory
// that are the warp's own, so that tokens are written in whole. token_of(row) is the token of one of the 16, or -1.
template <typename Product, int kWidth, typename T, typename TokenOf>
VIL_MM_DEVICE void store_rows(const float (&sums)[kWidth / kFragmentColumns][4], const float (&factor)[2], T* scratch,
                              const HeadTokens<T>& tokens, int head_width, bool aligned, TokenOf token_of) {
  constexpr int kStride = kRowStride<T, kWidth>;
  warp_barrier();
#pragma unroll
  for (int f = 0; f < kWidth / kFragmentColumns; ++f) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      store(scratch + (lane_row() + i / 2 * 8) * kStride + Product::sum_column(f) + i % 2, sums[f][i] * factor[i / 2]);
    }
  }
  warp_barrier();
  const int row = lane_index() / 2;  // two lanes to a row
  const int token = token_of(row);
  if (token < 0) return;
  T* to = tokens.at(token);
  const T* from = scratch + row * kStride;
  if (aligned) {
    constexpr int kElements = 16 / sizeof(T);
    for (int i = lane_index() % 2 * kElements; i < head_width; i += 2 * kElements) {
      *reinterpret_cast<uint4*>(to + i) = *reinterpret_cast<const uint4*>(from + i);
    }
  } else {
    for (int i = lane_index() % 2; i < head_width; i += 2) to[i] = from[i];
  }
}

// Runs over tiles: load(tile, stage) starts to load one, compute(tile, stage) has it in shared memory, as well as what
// the caller started to load before.
template <typename Load, typename Compute>
VIL_MM_DEVICE void for_each_tile(int tiles, int stages, Load load, Compute compute) {
  load(0, 0);
  commit_copies();
  for (int tile = 0; tile < tiles; ++tile) {
    const int stage = stages == 2 ? tile % 2 : 0;
    if (stages == 2 && tile + 1 < tiles) {
      load(tile + 1, (tile + 1) % 2);
      commit_copies();
      wait_for_copies<1>();
    } else {
      wait_for_copies<0>();
    }
    block_barrier();
    compute(tile, stage);
    block_barrier();
    if (stages == 1 && tile + 1 < tiles) {
      load(tile + 1, 0);
      commit_copies();
    }
  }
}

}  // namespace cuda
}  // namespace vil_mm
