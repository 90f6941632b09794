// The two products of attention, for a warp's 16 rows and a tile of columns in shared memory: scores = rows columns^T,
// and sums += scores columns. They run on tensor cores, or in plain arithmetic that keeps full precision.
//
// Each lane holds n fragments of 4 values of a 16 x (8 n) matrix. Fragment f covers rows lane / 4 (values 0 and 1) and
// lane / 4 + 8 (values 2 and 3) in column 8 f + 2 (lane % 4) and the next one, as the tensor cores return their
// results. The columns of sums may lie elsewhere: see sum_column.
#pragma once

#include <type_traits>

#include "intrinsics.cuh"

namespace vil_mm {
namespace cuda {

constexpr int kWarpRows = 16;
constexpr int kFragmentColumns = 8;
static_assert(kWarpRows * kFragmentColumns == 4 * kWarpSize, "a lane holds 4 values of a fragment");

enum class Arithmetic { kPlain, kTensorCore };

// Whether a kernel keeps all the digits that float can: one that computes floats in plain arithmetic.
template <typename T, Arithmetic kArithmetic>
constexpr bool kExact = std::is_same_v<T, float> && kArithmetic == Arithmetic::kPlain;

// Elements from one row of a tile in shared memory to the next. The 16 bytes between rows spread them over the banks.
template <typename T, int kWidth>
constexpr int kRowStride = kWidth + kElementsOf16Bytes<T>;

VIL_MM_DEVICE int lane_index() { return static_cast<int>(threadIdx.x) % kWarpSize; }
VIL_MM_DEVICE int warp_index() { return static_cast<int>(threadIdx.x) / kWarpSize; }
// The first row and the first column that a lane holds of a fragment.
VIL_MM_DEVICE int lane_row() { return lane_index() / 4; }
VIL_MM_DEVICE int lane_column() { return lane_index() % 4 * 2; }

template <int kFragments>
VIL_MM_DEVICE void clear(float (&fragments)[kFragments][4]) {
#pragma unroll
  for (int f = 0; f < kFragments; ++f) {
#pragma unroll
    for (int i = 0; i < 4; ++i) fragments[f][i] = 0;
  }
}

// Plain arithmetic, for any T.
template <typename T, int kWidth>
struct PlainProducts {
  static_assert(kWidth % 16 == 0, "a lane adds up 4 columns of every 16");
  static constexpr int kStride = kRowStride<T, kWidth>;

  // The warp's rows: they stay in shared memory.
  template <bool kInRegisters>
  struct Rows {
    const T* tile;
    VIL_MM_DEVICE void set(const T* place) { tile = place; }
  };

  template <int kFragments, bool kInRegisters>
  static VIL_MM_DEVICE void scores(float (&scores)[kFragments][4], const Rows<kInRegisters>& rows, const T* columns) {
    clear(scores);
    const T* low_row = rows.tile + lane_row() * kStride;
    columns += lane_column() * kStride;
#pragma unroll 2
    for (int k = 0; k < kWidth; k += 4) {
      float low[4], high[4];
      load4(low, low_row + k);
      load4(high, low_row + 8 * kStride + k);
#pragma unroll
      for (int f = 0; f < kFragments; ++f) {
        float first[4], second[4];
        load4(first, columns + kFragmentColumns * f * kStride + k);
        load4(second, columns + (kFragmentColumns * f + 1) * kStride + k);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          scores[f][0] += low[i] * first[i];
          scores[f][1] += low[i] * second[i];
          scores[f][2] += high[i] * first[i];
          scores[f][3] += high[i] * second[i];
        }
      }
    }
  }

  // A lane has 4 adjacent columns of sums, so that it reads the other factor's with one load.
  static VIL_MM_DEVICE int sum_column(int fragment) {
    return 16 * (fragment / 2) + 2 * lane_column() + 2 * (fragment % 2);
  }

  template <int kFragments>
  static VIL_MM_DEVICE void accumulate(float (&sums)[kWidth / kFragmentColumns][4],
                                       const float (&weights)[kFragments][4], const T* columns) {
    // The tile is summed separately, since long sums lose digits; a group of columns at a time, to save registers.
    constexpr int kGroups = kWidth % 32 == 0 ? kWidth / 32 : 1, kLoads = kWidth / 16 / kGroups;
    const int first_lane = lane_index() / 4 * 4;
    columns += 2 * lane_column();
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
      float tile_sums[2 * kLoads][4];
      clear(tile_sums);
#pragma unroll
      for (int f = 0; f < kFragments; ++f) {
#pragma unroll 1
        for (int owner = 0; owner < 4; ++owner) {  // the lane that has the weights of two columns
          float weight[4];
#pragma unroll
          for (int i = 0; i < 4; ++i) weight[i] = shuffle(weights[f][i], first_lane + owner);
#pragma unroll
          for (int second = 0; second < 2; ++second) {
            const T* row = columns + (kFragmentColumns * f + 2 * owner + second) * kStride + 16 * kLoads * group;
#pragma unroll
            for (int j = 0; j < kLoads; ++j) {
              float values[4];
              load4(values, row + 16 * j);
#pragma unroll
              for (int i = 0; i < 4; ++i) {
                tile_sums[2 * j + i / 2][i % 2] += weight[second] * values[i];
                tile_sums[2 * j + i / 2][2 + i % 2] += weight[2 + second] * values[i];
              }
            }
          }
        }
      }
#pragma unroll
      for (int f = 0; f < 2 * kLoads; ++f) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[2 * kLoads * group + f][i] += tile_sums[f][i];
      }
    }
  }
};

// Tensor cores on 16-bit types: 16 values deep at a time.
template <typename T, int kWidth>
struct TensorCoreProducts {
  static_assert(kWidth % 16 == 0, "heads are padded to whole steps");
  static constexpr int kStride = kRowStride<T, kWidth>;
  static constexpr int kSteps = kWidth / 16;

  static VIL_MM_DEVICE void load_rows(uint32_t (&fragment)[4], const T* tile, int step) {
    load_matrices(fragment, tile + lane_index() % 16 * kStride + 16 * step + lane_index() / 16 * 8);
  }

  // The warp's rows, read once or again for every tile.
  template <bool kInRegisters>
  struct Rows {
    const T* tile;
    uint32_t fragments[kInRegisters ? kSteps : 1][4];

    VIL_MM_DEVICE void set(const T* place) {
      tile = place;
      if constexpr (kInRegisters) {
#pragma unroll
        for (int step = 0; step < kSteps; ++step) load_rows(fragments[step], tile, step);
      }
    }
    VIL_MM_DEVICE void get(uint32_t (&fragment)[4], int step) const {
      if constexpr (kInRegisters) {
#pragma unroll
        for (int i = 0; i < 4; ++i) fragment[i] = fragments[step][i];
      } else {
        load_rows(fragment, tile, step);
      }
    }
  };

  template <int kFragments, bool kInRegisters>
  static VIL_MM_DEVICE void scores(float (&scores)[kFragments][4], const Rows<kInRegisters>& rows, const T* columns) {
    static_assert(kFragments % 2 == 0, "fragments are multiplied in pairs");
    clear(scores);
    columns += (lane_index() % 8 + lane_index() / 16 * 8) * kStride + lane_index() / 8 % 2 * 8;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      uint32_t a[4];
      rows.get(a, step);
#pragma unroll
      for (int f = 0; f < kFragments; f += 2) {
        uint32_t b[4];
        load_matrices(b, columns + kFragmentColumns * f * kStride + 16 * step);
        mma_m16n8k16<T>(scores[f], a, b[0], b[1]);
        mma_m16n8k16<T>(scores[f + 1], a, b[2], b[3]);
      }
    }
  }

  static VIL_MM_DEVICE int sum_column(int fragment) { return kFragmentColumns * fragment + lane_column(); }

  template <int kFragments>
  static VIL_MM_DEVICE void accumulate(float (&sums)[kWidth / kFragmentColumns][4],
                                       const float (&weights)[kFragments][4], const T* columns) {
    columns += lane_index() % 16 * kStride + lane_index() / 16 * 8;
#pragma unroll
    for (int f = 0; f < kFragments; f += 2) {
      const uint32_t a[4] = {pack<T>(weights[f][0], weights[f][1]), pack<T>(weights[f][2], weights[f][3]),
                             pack<T>(weights[f + 1][0], weights[f + 1][1]),
                             pack<T>(weights[f + 1][2], weights[f + 1][3])};
#pragma unroll
      for (int j = 0; j < kSteps; ++j) {
        uint32_t b[4];
        load_matrices_transposed(b, columns + kFragmentColumns * f * kStride + 16 * j);
        mma_m16n8k16<T>(sums[2 * j], a, b[0], b[1]);
        mma_m16n8k16<T>(sums[2 * j + 1], a, b[2], b[3]);
      }
    }
  }
};

// Tensor cores on floats rounded to tf32: 8 values deep at a time.
template <int kWidth>
struct TensorCoreProducts<float, kWidth> {
  static constexpr int kStride = kRowStride<float, kWidth>;

  template <bool kInRegisters>
  struct Rows {
    const float* tile;
    VIL_MM_DEVICE void set(const float* place) { tile = place; }
  };

  template <int kFragments, bool kInRegisters>
  static VIL_MM_DEVICE void scores(float (&scores)[kFragments][4], const Rows<kInRegisters>& rows,
                                   const float* columns) {
    clear(scores);
    const int place = lane_row() * kStride + lane_index() % 4;
    const float* low_row = rows.tile + place;
    const float* high_row = low_row + 8 * kStride;
    columns += place;
#pragma unroll
    for (int k = 0; k < kWidth; k += 8) {
      const uint32_t a[4] = {to_tf32(low_row[k]), to_tf32(high_row[k]), to_tf32(low_row[k + 4]),
                             to_tf32(high_row[k + 4])};
#pragma unroll
      for (int f = 0; f < kFragments; ++f) {
        const float* column = columns + kFragmentColumns * f * kStride + k;
        mma_m16n8k8_tf32(scores[f], a, to_tf32(column[0]), to_tf32(column[4]));
      }
    }
  }

  static VIL_MM_DEVICE int sum_column(int fragment) { return kFragmentColumns * fragment + lane_column(); }

  // The instruction expects the weights' columns lane % 4 and lane % 4 + 4, but a lane has two adjacent ones. So the
  // columns are taken in another order, and so are the rows of the other factor.
  template <int kFragments>
  static VIL_MM_DEVICE void accumulate(float (&sums)[kWidth / kFragmentColumns][4],
                                       const float (&weights)[kFragments][4], const float* columns) {
    columns += lane_column() * kStride + lane_row();
#pragma unroll
    for (int f = 0; f < kFragments; ++f) {
      const uint32_t a[4] = {to_tf32(weights[f][0]), to_tf32(weights[f][2]), to_tf32(weights[f][1]),
                             to_tf32(weights[f][3])};
      const float* row = columns + kFragmentColumns * f * kStride;
#pragma unroll
      for (int j = 0; j < kWidth / 8; ++j) {
        mma_m16n8k8_tf32(sums[j], a, to_tf32(row[8 * j]), to_tf32(row[kStride + 8 * j]));
      }
    }
  }
};

// The products that a kernel uses on the device it is compiled for.
template <typename T, int kWidth, Arithmetic kArithmetic>
using Products = std::conditional_t<kHasTensorCores && kArithmetic == Arithmetic::kTensorCore,
                                    TensorCoreProducts<T, kWidth>, PlainProducts<T, kWidth>>;

}  // namespace cuda
}  // namespace vil_mm
