// What the bindings of all devices share: checks of the arguments, so that no kernel reads out of bounds, whoever calls
// it; and the layout of tensors.
#pragma once

#include <ATen/ATen.h>

#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "problem.h"

namespace vil_mm {

inline void check_tensor(const char* name, const at::Tensor& tensor, at::IntArrayRef shape, const at::Tensor& q) {
  TORCH_CHECK_VALUE(tensor.sizes() == shape, name, " has shape ", tensor.sizes(), ", must be ", shape);
  TORCH_CHECK_VALUE(tensor.device() == q.device(), name, " is on ", tensor.device(), ", must be on the device of q, ",
                    q.device());
}

inline void check_tokens(const char* name, const at::Tensor& tensor, at::IntArrayRef shape, const at::Tensor& q) {
  check_tensor(name, tensor, shape, q);
  TORCH_CHECK_VALUE(tensor.scalar_type() == q.scalar_type(), name, " has dtype ", tensor.scalar_type(),
                    ", must be that of q, ", q.scalar_type());
}

inline Problem check_arguments(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const std::optional<at::Tensor>& bias_table,
                               const std::optional<at::Tensor>& global_bias, int64_t height, int64_t width,
                               int64_t window_size, int64_t num_global_tokens, std::string_view mask, int64_t neighbors,
                               double scale) {
  const auto check_range = [](const char* name, int64_t value, int64_t low, int64_t high) {
    TORCH_CHECK_VALUE(low <= value && value <= high, name, "=", value, " must be from ", low, " to ", high);
  };
  const std::optional<Mask> kind = parse_mask(mask);
  TORCH_CHECK_VALUE(kind, "mask='", std::string(mask), "' is not one of ('block', 'exact', 'cyclic')");
  check_range("neighbors", neighbors, kOwnChunk, kLastNeighbor);
  TORCH_CHECK_VALUE(kind != Mask::kExact || neighbors == kAllNeighbors,
                    "mask='exact' is defined only on the whole neighborhood: neighbors=", neighbors, " must be ",
                    kAllNeighbors);
  check_range("window_size", window_size, 1, kMaxWindow);
  // Coordinates are 32-bit integers, even those one chunk beyond the grid.
  check_range("height", height, 1, std::numeric_limits<int>::max() / 2);
  check_range("width", width, 1, std::numeric_limits<int>::max() / 2);
  check_range("num_global_tokens", num_global_tokens, 0, std::numeric_limits<int>::max() / 2);
  TORCH_CHECK_VALUE(q.dim() == 4, "q has shape ", q.sizes(), ", must have 4 dimensions: (N, heads, h * w, d)");
  const int64_t batch = q.size(0), heads = q.size(1), head_width = q.size(3);
  check_range("the head width of q", head_width, 1, 1 << 20);
  const int64_t grid = height * width, tokens = num_global_tokens + grid, side = 4 * window_size - 1;
  check_tokens("q", q, {batch, heads, grid, head_width}, q);
  check_tokens("k", k, {batch, heads, tokens, head_width}, q);
  check_tokens("v", v, {batch, heads, tokens, head_width}, q);
  if (bias_table) check_tensor("bias_table", *bias_table, {side * side, heads}, q);
  if (global_bias) check_tensor("global_bias", *global_bias, {heads, num_global_tokens}, q);
  return {batch,
          heads,
          static_cast<int>(height),
          static_cast<int>(width),
          static_cast<int>(window_size),
          static_cast<int>(num_global_tokens),
          static_cast<int>(head_width),
          *kind,
          static_cast<int>(neighbors),
          scale};
}

// The kernels read strided tensors in place; only the last dimension must be contiguous.
inline at::Tensor with_unit_stride(const at::Tensor& tensor) {
  return tensor.stride(-1) == 1 ? tensor : tensor.contiguous();
}

// A new tensor with the shape of `tensor`, (N, heads, tokens, d), laid out so that joining the heads is a view.
inline at::Tensor empty_tokens(const at::Tensor& tensor, at::ScalarType dtype) {
  return at::empty({tensor.size(0), tensor.size(2), tensor.size(1), tensor.size(3)}, tensor.options().dtype(dtype))
      .transpose(1, 2);
}

template <typename T>
Tokens<const T> read_tokens(const at::Tensor& tensor) {
  return {static_cast<const T*>(tensor.const_data_ptr()), tensor.stride(0), tensor.stride(1), tensor.stride(2)};
}

template <typename T>
Tokens<T> write_tokens(const at::Tensor& tensor) {
  return {static_cast<T*>(tensor.mutable_data_ptr()), tensor.stride(0), tensor.stride(1), tensor.stride(2)};
}

// Biases as the kernels read them: (heads, rows), contiguous.
inline at::Tensor pack_table(const std::optional<at::Tensor>& bias_table, at::ScalarType dtype) {
  return bias_table ? bias_table->t().to(dtype).contiguous() : at::Tensor();
}

inline at::Tensor pack_global_bias(const std::optional<at::Tensor>& global_bias, at::ScalarType dtype) {
  return global_bias ? global_bias->to(dtype).contiguous() : at::Tensor();
}

template <typename T>
const T* data_or_null(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<T>() : nullptr;
}

}  // namespace vil_mm
