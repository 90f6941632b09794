// The functions of csrc/cuda/intrinsics.cuh on a CPU. The layouts of fragments are those of the PTX ISA: "Matrix
// Fragments for mma.m16n8k16 with floating point type", "... mma.m16n8k8", and "ldmatrix".
#pragma once

#include <cmath>
#include <cstring>

#include "../emulator.h"

#define VIL_MM_DEVICE inline

namespace vil_mm {
namespace cuda {

#if defined(VIL_MM_EMULATE_NO_TENSOR_CORES)
constexpr bool kHasTensorCores = false;
#else
constexpr bool kHasTensorCores = true;
#endif

constexpr int kLanes = kWarpSize;
static_assert(kLanes == emulator::kWarpSize, "the emulator's warps are the kernels'");

inline char* dynamic_shared() { return emulator::shared_memory(); }

struct Nothing {};

inline void meet(const Nothing (&)[kLanes], Nothing (&)[kLanes]) {}

inline void block_barrier() { emulator::block_barrier(); }
inline void warp_barrier() { emulator::collective<Nothing, Nothing, meet>({}); }

inline void any_of_lanes(const bool (&conditions)[kLanes], bool (&results)[kLanes]) {
  bool any = false;
  for (const bool condition : conditions) any |= condition;
  for (bool& result : results) result = any;
}
inline bool any_of_warp(bool condition) { return emulator::collective<bool, bool, any_of_lanes>(condition); }

struct Shuffle {
  float value;
  int from;
};
inline void shuffle_lanes(const Shuffle (&in)[kLanes], float (&out)[kLanes]) {
  for (int lane = 0; lane < kLanes; ++lane) out[lane] = in[in[lane].from].value;
}
inline float shuffle(float value, int lane) {
  return emulator::collective<Shuffle, float, shuffle_lanes>({value, lane});
}
inline float shuffle_xor(float value, int mask) {
  return shuffle(value, static_cast<int>(threadIdx.x) % kLanes ^ mask);
}

inline uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}
inline float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// Adds an error of up to one unit in the last place, as the hardware may; it looks random but is always the same.
inline float last_place_off(float result, float value) {
  const uint32_t scrambled = bits_of(value) * 2654435761u >> 8;
  const float error = static_cast<float>(scrambled) / (1 << 23) - 1;  // from -1 to 1
  return result == 1 ? result : result * (1 + error * 1.1920929e-7f);
}
inline float exp2_fast(float value) {
  const float result = std::exp2(value);
  return result < 1.1754944e-38f ? 0 : last_place_off(result, value);
}
inline float exp_exact(float value) { return last_place_off(std::exp(value), value); }

inline float to_float(float value) { return value; }
inline float to_float(__half value) { return static_cast<float>(value.value); }
inline float to_float(__nv_bfloat16 value) { return float_of(static_cast<uint32_t>(value.bits) << 16); }

inline void store(float* place, float value) { *place = value; }
inline void store(__half* place, float value) { place->value = static_cast<_Float16>(value); }
inline void store(__nv_bfloat16* place, float value) {
  const uint32_t bits = bits_of(value);
  const bool nan = value != value;
  place->bits = static_cast<uint16_t>(nan ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

template <typename T>
uint32_t pack(float first, float second) {
  T values[2];
  store(&values[0], first);
  store(&values[1], second);
  uint32_t bits;
  std::memcpy(&bits, values, sizeof(bits));
  return bits;
}

template <typename T>
void load4(float (&values)[4], const T* place) {
  emulator::check_aligned(place, 4 * sizeof(T));
  for (int i = 0; i < 4; ++i) values[i] = to_float(place[i]);
}

inline void copy_16_bytes(void* shared, const void* global, bool present) {
  emulator::check_aligned(shared, 16);
  emulator::check_aligned(global, 16);
  emulator::copy_later(shared, present ? global : nullptr, 16);
}
inline void commit_copies() { emulator::commit_copies(); }
template <int kPending>
void wait_for_copies() {
  emulator::wait_for_copies(kPending);
}

struct Row {
  const void* place;
};
struct Registers {
  uint32_t values[4];
};

template <bool kTransposed>
void load_matrices_of_lanes(const Row (&rows)[kLanes], Registers (&out)[kLanes]) {
  for (int matrix = 0; matrix < 4; ++matrix) {
    uint16_t elements[8][8];
    for (int row = 0; row < 8; ++row) {
      const void* place = rows[8 * matrix + row].place;
      emulator::check_aligned(place, 16);
      std::memcpy(elements[row], place, sizeof(elements[row]));
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      const int i = lane / 4, j = lane % 4 * 2;
      const uint32_t low = kTransposed ? elements[j][i] : elements[i][j];
      const uint32_t high = kTransposed ? elements[j + 1][i] : elements[i][j + 1];
      out[lane].values[matrix] = low | high << 16;
    }
  }
}

inline void load_matrices(uint32_t (&registers)[4], const void* row) {
  const Registers all = emulator::collective<Row, Registers, load_matrices_of_lanes<false>>({row});
  std::memcpy(registers, all.values, sizeof(registers));
}
inline void load_matrices_transposed(uint32_t (&registers)[4], const void* row) {
  const Registers all = emulator::collective<Row, Registers, load_matrices_of_lanes<true>>({row});
  std::memcpy(registers, all.values, sizeof(registers));
}

struct Factors {
  uint32_t a[4], b[2];
  float sums[4];
};
struct Sums {
  float values[4];
};

// sums += a b, the factors as (16 x depth) and (depth x 8).
template <int kDepth>
void multiply(const float (&a)[16][kDepth], const float (&b)[kDepth][8], const Factors (&in)[kLanes],
              Sums (&out)[kLanes]) {
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      float sum = in[lane].sums[i];
      for (int k = 0; k < kDepth; ++k) sum += a[row][k] * b[k][column];
      out[lane].values[i] = sum;
    }
  }
}

template <typename T>
void mma_m16n8k16_of_lanes(const Factors (&in)[kLanes], Sums (&out)[kLanes]) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < kLanes; ++lane) {
    const int group = lane / 4, in_group = lane % 4;
    T elements[8];
    std::memcpy(elements, in[lane].a, sizeof(elements));
    for (int i = 0; i < 8; ++i) {
      const int row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
      const int column = in_group * 2 + i % 2 + (i >= 4 ? 8 : 0);
      a[row][column] = to_float(elements[i]);
    }
    std::memcpy(elements, in[lane].b, sizeof(in[lane].b));
    for (int i = 0; i < 4; ++i) b[in_group * 2 + i % 2 + (i >= 2 ? 8 : 0)][group] = to_float(elements[i]);
  }
  multiply(a, b, in, out);
}

template <typename T>
void mma_m16n8k16(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const Sums all = emulator::collective<Factors, Sums, mma_m16n8k16_of_lanes<T>>(
      {{a[0], a[1], a[2], a[3]}, {b0, b1}, {sums[0], sums[1], sums[2], sums[3]}});
  std::memcpy(sums, all.values, sizeof(sums));
}

inline uint32_t to_tf32(float value) { return (bits_of(value) + 0x1000) & 0xffffe000; }

inline void mma_m16n8k8_of_lanes(const Factors (&in)[kLanes], Sums (&out)[kLanes]) {
  float a[16][8], b[8][8];
  for (int lane = 0; lane < kLanes; ++lane) {
    const int group = lane / 4, in_group = lane % 4;
    for (int i = 0; i < 4; ++i) a[group + i % 2 * 8][in_group + i / 2 * 4] = float_of(in[lane].a[i]);
    for (int i = 0; i < 2; ++i) b[in_group + i * 4][group] = float_of(in[lane].b[i]);
  }
  multiply(a, b, in, out);
}

inline void mma_m16n8k8_tf32(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const Sums all = emulator::collective<Factors, Sums, mma_m16n8k8_of_lanes>(
      {{a[0], a[1], a[2], a[3]}, {b0, b1}, {sums[0], sums[1], sums[2], sums[3]}});
  std::memcpy(sums, all.values, sizeof(sums));
}

}  // namespace cuda
}  // namespace vil_mm
