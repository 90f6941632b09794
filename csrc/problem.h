// The kernels' arguments: sizes, and raw pointers with strides.
#pragma once

#include <optional>
#include <string_view>

#include "geometry.h"

namespace vil_mm {

// The widest heads that the CUDA kernels support.
constexpr int kMaxCudaHeadWidth = 128;

inline std::optional<Mask> parse_mask(std::string_view name) {
  if (name == "block") return Mask::kBlock;
  if (name == "exact") return Mask::kExact;
  if (name == "cyclic") return Mask::kCyclic;
  return std::nullopt;
}

struct Problem {
  int64_t batch, heads;
  int height, width;  // of the grid, in tokens
  int window;
  int num_global;
  int head_width;
  Mask mask;
  int neighbors;  // kAllNeighbors, kOwnChunk, or 1 to kLastNeighbor
  double scale;

  VIL_MM_HOST_DEVICE Axis rows() const { return {height, window, mask == Mask::kCyclic}; }
  VIL_MM_HOST_DEVICE Axis columns() const { return {width, window, mask == Mask::kCyclic}; }
};

// A tensor (batch, heads, tokens, head width) whose last dimension is contiguous. Strides are in elements.
template <typename T>
struct Tokens {
  T* data;
  int64_t batch_stride, head_stride, token_stride;

  VIL_MM_HOST_DEVICE T* at(int64_t batch, int64_t head, int64_t token) const {
    return data + batch * batch_stride + head * head_stride + token * token_stride;
  }
};

}  // namespace vil_mm
