// What the bindings of all devices share: checks of the arguments, so that no kernel reads out of bounds, whoever calls
// it; and the layout of tensors. Only PyTorch's stable ABI is used, so that one build serves several versions.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <limits>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

#include "problem.h"

namespace vil_mm {

using torch::headeronly::IntHeaderOnlyArrayRef;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline std::ostream& operator<<(std::ostream& text, IntHeaderOnlyArrayRef shape) {
  const char* separator = "[";
  for (const int64_t size : shape) text << std::exchange(separator, ", ") << size;
  return text << (shape.empty() ? "[]" : "]");
}

// Raises a ValueError.
template <typename... Parts>
void check(bool condition, const Parts&... message) {
  if (condition) return;
  std::ostringstream text;
  (text << ... << message);
  throw std::invalid_argument(text.str());
}

inline void check_tensor(const char* name, const Tensor& tensor, IntHeaderOnlyArrayRef shape, const Tensor& q) {
  check(tensor.sizes().equals(shape), name, " has shape ", tensor.sizes(), ", must be ", shape);
  check(tensor.device() == q.device(), name, " must be on the device of q");
}

inline void check_tokens(const char* name, const Tensor& tensor, IntHeaderOnlyArrayRef shape, const Tensor& q) {
  check_tensor(name, tensor, shape, q);
  check(tensor.scalar_type() == q.scalar_type(), name, " has dtype ", toString(tensor.scalar_type()),
        ", must be that of q, ", toString(q.scalar_type()));
}

// Takes a string from an argument; torch::stable::detail::to<std::string> never frees it.
inline std::string take(StringHandle handle) {
  const std::unique_ptr<StringOpaque, AOTITorchError (*)(StringHandle)> owner(handle, torch_delete_string);
  size_t length;
  const char* data;
  TORCH_ERROR_CODE_CHECK(torch_string_length(handle, &length));
  TORCH_ERROR_CODE_CHECK(torch_string_c_str(handle, &data));
  return std::string(data, length);
}

inline Problem check_arguments(const Tensor& q, const Tensor& k, const Tensor& v,
                               const std::optional<Tensor>& bias_table, const std::optional<Tensor>& global_bias,
                               int64_t height, int64_t width, int64_t window_size, int64_t num_global_tokens,
                               StringHandle mask, int64_t neighbors, double scale) {
  const auto check_range = [](const char* name, int64_t value, int64_t low, int64_t high) {
    check(low <= value && value <= high, name, "=", value, " must be from ", low, " to ", high);
  };
  const std::string mask_name = take(mask);
  const std::optional<Mask> kind = parse_mask(mask_name);
  check(kind.has_value(), "mask='", mask_name, "' is not one of ('block', 'exact', 'cyclic')");
  check_range("neighbors", neighbors, kOwnChunk, kLastNeighbor);
  check(kind != Mask::kExact || neighbors == kAllNeighbors,
        "mask='exact' is defined only on the whole neighborhood: neighbors=", neighbors, " must be ", kAllNeighbors);
  check_range("window_size", window_size, 1, kMaxWindow);
  // Coordinates are 32-bit integers, even those one chunk beyond the grid.
  check_range("height", height, 1, std::numeric_limits<int>::max() / 2);
  check_range("width", width, 1, std::numeric_limits<int>::max() / 2);
  check_range("num_global_tokens", num_global_tokens, 0, std::numeric_limits<int>::max() / 2);
  check(q.dim() == 4, "q has shape ", q.sizes(), ", must have 4 dimensions: (N, heads, h * w, d)");
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

// Calls of PyTorch's ops find them by name, which takes time; these leave out what would change nothing.
inline Tensor convert(const Tensor& tensor, ScalarType dtype) {
  return tensor.scalar_type() == dtype ? tensor : torch::stable::to(tensor, dtype);
}

inline Tensor pack(const Tensor& tensor, ScalarType dtype) {
  const Tensor converted = convert(tensor, dtype);
  return converted.is_contiguous() ? converted : torch::stable::contiguous(converted);
}

// The kernels read strided tensors in place; only the last dimension must be contiguous.
inline Tensor with_unit_stride(const Tensor& tensor) {
  return tensor.stride(-1) == 1 ? tensor : torch::stable::contiguous(tensor);
}

// A new tensor with the shape of `tensor`, (N, heads, tokens, d), laid out so that joining the heads is a view.
inline Tensor empty_tokens(const Tensor& tensor, ScalarType dtype) {
  const Tensor joined =
      torch::stable::new_empty(tensor, {tensor.size(0), tensor.size(2), tensor.size(1), tensor.size(3)}, dtype);
  return torch::stable::transpose(joined, 1, 2);
}

template <typename T>
Tokens<const T> read_tokens(const Tensor& tensor) {
  return {static_cast<const T*>(tensor.const_data_ptr()), tensor.stride(0), tensor.stride(1), tensor.stride(2)};
}

template <typename T>
Tokens<T> write_tokens(const Tensor& tensor) {
  return {static_cast<T*>(tensor.mutable_data_ptr()), tensor.stride(0), tensor.stride(1), tensor.stride(2)};
}

// Biases as the kernels read them: (heads, rows), contiguous.
inline Tensor pack_table(const std::optional<Tensor>& bias_table, ScalarType dtype) {
  return bias_table ? pack(torch::stable::transpose(*bias_table, 0, 1), dtype) : Tensor();
}

inline Tensor pack_global_bias(const std::optional<Tensor>& global_bias, ScalarType dtype) {
  return global_bias ? pack(*global_bias, dtype) : Tensor();
}

template <typename T>
const T* data_or_null(const Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<T>() : nullptr;
}

}  // namespace vil_mm
