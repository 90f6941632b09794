// The binding of the CUDA kernels: checks, allocates and launches on PyTorch's current stream.
#include "sliding_window_cuda.h"

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/macros.h>

#include <tuple>

#include "../checks.h"

namespace vil_mm {
namespace cuda {
namespace {

Problem check_for_cuda(const Tensor& q, const Tensor& k, const Tensor& v, const std::optional<Tensor>& bias_table,
                       const std::optional<Tensor>& global_bias, int64_t height, int64_t width, int64_t window_size,
                       int64_t num_global_tokens, StringHandle mask, int64_t neighbors, double scale) {
  const Problem problem = check_arguments(q, k, v, bias_table, global_bias, height, width, window_size,
                                          num_global_tokens, mask, neighbors, scale);
  check(q.is_cuda(), "q must be on a CUDA device");
  check(problem.head_width <= kMaxCudaHeadWidth, "the CUDA kernels support head widths from 1 to ", kMaxCudaHeadWidth,
        ", q has ", problem.head_width);
  // Indices of tokens, global ones included, are 32-bit integers.
  check(num_global_tokens + height * width <= std::numeric_limits<int>::max(), "the CUDA kernels support at most ",
        std::numeric_limits<int>::max(), " keys, k has ", k.size(2));
  return problem;
}

// Calls run with a value of the kernels' type for the dtype.
template <typename Run>
void with_type(ScalarType dtype, Run run) {
  switch (dtype) {
    case ScalarType::Float:
      return run(float());
    case ScalarType::Half:
      return run(__half());
    case ScalarType::BFloat16:
      return run(__nv_bfloat16());
    default:
      check(false, "the CUDA kernels support float32, float16 and bfloat16, q has ", toString(dtype));
  }
}

Tensor allocate_workspace(size_t size, const Tensor& like) {
  return torch::stable::new_empty(like, {static_cast<int64_t>(size)}, ScalarType::Float);
}

cudaStream_t current_stream(const Tensor& tensor) {
  void* stream;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream));
  return static_cast<cudaStream_t>(stream);
}

// Whether PyTorch's settings allow products of floats in TF32. Only Python can tell: vil_mm/ops/_library.py does.
bool allows_tf32() {
  StableIValue stack[1];
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("vil_mm::allows_tf32", "", stack, TORCH_ABI_VERSION));
  return torch::stable::detail::to<bool>(stack[0]);
}

float* writable_or_null(const Tensor& tensor) { return tensor.defined() ? tensor.mutable_data_ptr<float>() : nullptr; }

// Packed biases, and the settings that the kernels read besides the problem.
struct Packed {
  Tensor table, global_bias;
  bool allow_tf32;

  Packed(ScalarType dtype, const std::optional<Tensor>& bias_table, const std::optional<Tensor>& global_bias)
      : table(pack_table(bias_table, ScalarType::Float)),
        global_bias(pack_global_bias(global_bias, ScalarType::Float)),
        allow_tf32(dtype == ScalarType::Float && allows_tf32()) {}

  template <typename T>
  Inputs<T> inputs(const Problem& problem, const Tensor& q, const Tensor& k, const Tensor& v) const {
    return {problem,           read_tokens<T>(q),          read_tokens<T>(k),
            read_tokens<T>(v), data_or_null<float>(table), data_or_null<float>(global_bias),
            allow_tf32};
  }
};

std::tuple<Tensor, Tensor> run_forward(const Tensor& q, const Tensor& k, const Tensor& v,
                                       const std::optional<Tensor>& bias_table,
                                       const std::optional<Tensor>& global_bias, int64_t height, int64_t width,
                                       int64_t window_size, int64_t num_global_tokens, StringHandle mask,
                                       int64_t neighbors, double scale) {
  const Problem problem = check_for_cuda(q, k, v, bias_table, global_bias, height, width, window_size,
                                         num_global_tokens, mask, neighbors, scale);
  const torch::stable::accelerator::DeviceGuard guard(q.get_device_index());
  const auto queries = with_unit_stride(q), keys = with_unit_stride(k), values = with_unit_stride(v);
  const Tensor out = empty_tokens(q, q.scalar_type());
  const Tensor lse = torch::stable::new_empty(q, {problem.batch, problem.heads, height * width}, ScalarType::Float);
  const Packed packed(q.scalar_type(), bias_table, global_bias);
  with_type(q.scalar_type(), [&](auto value) {
    using T = decltype(value);
    if (q.numel() == 0) return;
    const Tensor workspace = allocate_workspace(forward_workspace(problem, bias_table.has_value()), q);
    const Forward<T> pass = {packed.inputs<T>(problem, queries, keys, values), write_tokens<T>(out),
                             lse.mutable_data_ptr<float>()};
    STD_CUDA_CHECK(forward(pass, workspace.mutable_data_ptr<float>(), current_stream(q)));
  });
  return {out, lse};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> run_backward(
    const Tensor& grad_out, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out, const Tensor& lse,
    const std::optional<Tensor>& bias_table, const std::optional<Tensor>& global_bias, int64_t height, int64_t width,
    int64_t window_size, int64_t num_global_tokens, StringHandle mask, int64_t neighbors, double scale) {
  const Problem problem = check_for_cuda(q, k, v, bias_table, global_bias, height, width, window_size,
                                         num_global_tokens, mask, neighbors, scale);
  const torch::stable::accelerator::DeviceGuard guard(q.get_device_index());
  check_tokens("grad_out", grad_out, q.sizes(), q);
  check_tokens("out", out, q.sizes(), q);
  check_tensor("lse", lse, q.sizes().slice(0, 3), q);
  const auto queries = with_unit_stride(q), keys = with_unit_stride(k), values = with_unit_stride(v);
  const auto outputs = with_unit_stride(out), grad_outputs = with_unit_stride(grad_out);
  const auto log_sums = pack(lse, ScalarType::Float);
  const Packed packed(q.scalar_type(), bias_table, global_bias);
  const Tensor grad_q = empty_tokens(q, q.scalar_type());
  const Tensor grad_k = empty_tokens(k, k.scalar_type()), grad_v = empty_tokens(v, v.scalar_type());
  const Tensor table_sums =
      bias_table ? torch::stable::new_zeros(q, packed.table.sizes(), ScalarType::Float) : Tensor();
  const Tensor global_sums =
      global_bias ? torch::stable::new_zeros(q, packed.global_bias.sizes(), ScalarType::Float) : Tensor();
  with_type(q.scalar_type(), [&](auto value) {
    using T = decltype(value);
    if (q.numel() == 0) return;
    const Tensor workspace = allocate_workspace(backward_workspace<T>(problem, bias_table.has_value()), q);
    const Backward<T> pass = {packed.inputs<T>(problem, queries, keys, values),
                              read_tokens<T>(outputs),
                              read_tokens<T>(grad_outputs),
                              log_sums.const_data_ptr<float>(),
                              write_tokens<T>(grad_q),
                              write_tokens<T>(grad_k),
                              write_tokens<T>(grad_v),
                              writable_or_null(table_sums),
                              writable_or_null(global_sums)};
    STD_CUDA_CHECK(backward(pass, workspace.mutable_data_ptr<float>(), current_stream(q)));
  });
  Tensor grad_table = torch::stable::new_empty(q, {0}), grad_global_bias = torch::stable::new_empty(q, {0});
  if (bias_table) grad_table = pack(torch::stable::transpose(table_sums, 0, 1), bias_table->scalar_type());
  if (global_bias) grad_global_bias = convert(global_sums, global_bias->scalar_type());
  return {grad_q, grad_k, grad_v, grad_table, grad_global_bias};
}

}  // namespace
}  // namespace cuda

STABLE_TORCH_LIBRARY_IMPL(vil_mm, CUDA, m) {
  m.impl("sliding_window_attention_forward", TORCH_BOX(&cuda::run_forward));
  m.impl("sliding_window_attention_backward", TORCH_BOX(&cuda::run_backward));
}

}  // namespace vil_mm
