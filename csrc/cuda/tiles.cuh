// Tiles of tokens: how they are loaded into shared memory and stored from it, and how a kernel runs over them.
#pragma once

#include "neighborhood.cuh"
#include "shared_memory.cuh"

namespace vil_mm {
namespace cuda {

// Whether a warp keeps its rows of the first product in registers.
template <int kWidth>
constexpr bool kRowsInRegisters = kWidth <= 64;

// Calls body(i) for each i below count, divided among the block's threads.
template <typename Body>
VIL_MM_DEVICE void for_each_of_block(int count, Body body) {
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) body(i);
}

// The head's prepared table. Two pointers, so that the compiler knows which memory each one points to.
struct LoadedTable {
  const float *shared, *global;
  bool needed, in_shared;
};

// Starts to load the head's table into `copy`, if that is where the kernel reads it.
VIL_MM_DEVICE LoadedTable load_table(const Table& table, int64_t head, float* copy) {
  const bool needed = table.data != nullptr;
  const float* data = table.data + (needed ? head * table.size : 0);
  if (needed && table.in_shared) {
    constexpr int kElements = kElementsOf16Bytes<float>;
    for_each_of_block(table.size / kElements,
                      [&](int i) { copy_16_bytes(copy + kElements * i, data + kElements * i, true); });
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
    constexpr int kElements = kElementsOf16Bytes<T>;
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

// The tokens that a kernel reads, and the tile that it wants them in.
template <typename T>
struct Source {
  HeadTokens<const T> tokens;
  T* tile;
};

// Starts to load tiles: place_of(row) says which tokens, and note(row, place) is called once per row.
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

// The same where nothing needs to be noted.
template <int kWidth, typename T, int kSources, typename PlaceOf>
VIL_MM_DEVICE void load_tiles(const Source<T> (&sources)[kSources], int rows, int head_width, bool aligned,
                              PlaceOf place_of) {
  load_tiles<kWidth>(sources, rows, head_width, aligned, place_of, [](int, const Place&) {});
}

// Starts to load a tile of keys and one of their values, with what their scores need.
template <typename T, int kWidth, typename PlaceOf>
VIL_MM_DEVICE void load_keys(const TilePair<T, kWidth>& tiles, const TileNotes& notes, int count,
                             const HeadTokens<const T>& keys, const HeadTokens<const T>& values, int head_width,
                             bool aligned, PlaceOf place_of) {
  const Source<T> sources[] = {{keys, tiles.first}, {values, tiles.second}};
  load_tiles<kWidth>(sources, count, head_width, aligned, place_of, [&](int index, const Place& place) {
    notes.term[index] = place.term;
    notes.bias[index] = place.bias;
  });
}

// Writes the warp's sums, times a factor for each of the lane's rows, to tokens. They pass through the warp's own rows
// of shared memory, `scratch`, so that each token is written in one piece. token_of(row) is the token of a row, or -1.
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
  constexpr int kLanes = kWarpSize / kWarpRows;  // per row
  const int row = lane_index() / kLanes;
  const int token = token_of(row);
  if (token < 0) return;
  T* to = tokens.at(token);
  const T* from = scratch + row * kStride;
  if (aligned) {
    constexpr int kElements = kElementsOf16Bytes<T>;
    for (int i = lane_index() % kLanes * kElements; i < head_width; i += kLanes * kElements) {
      *reinterpret_cast<uint4*>(to + i) = *reinterpret_cast<const uint4*>(from + i);
    }
  } else {
    for (int i = lane_index() % kLanes; i < head_width; i += kLanes) to[i] = from[i];
  }
}

// Runs over tiles: load(tile, stage) starts to load one; compute(tile, stage) finds it in shared memory, along with
// whatever the caller had started to load before.
template <typename Load, typename Compute>
VIL_MM_DEVICE void for_each_tile(int tiles, int stages, const Load& load, Compute compute) {
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
