// The binding of the CUDA kernels: checks, allocates and launches on PyTorch's current stream.
#include "sliding_window_cuda.h"

#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "../checks.h"
#include "../precision.h"

namespace vil_mm {
namespace cuda {
namespace {

Problem check(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
              const std::optional<at::Tensor>& bias_table, const std::optional<at::Tensor>& global_bias, int64_t height,
              int64_t width, int64_t window_size, int64_t num_global_tokens, std::string_view mask, int64_t neighbors,
              double scale) {
  const Problem problem = check_arguments(q, k, v, bias_table, global_bias, height, width, window_size,
                                          num_global_tokens, mask, neighbors, scale);
  TORCH_CHECK_VALUE(q.is_cuda(), "q is on ", q.device(), ", must be on a CUDA device");
  TORCH_CHECK_VALUE(problem.head_width <= kMaxCudaHeadWidth, "the CUDA kernels support head widths from 1 to ",
                    kMaxCudaHeadWidth, ", q has ", problem.head_width);
  // Indices of tokens, global ones included, are 32-bit integers.
  TORCH_CHECK_VALUE(num_global_tokens + height * width <= std::numeric_limits<int>::max(),
                    "the CUDA kernels support at most ", std::numeric_limits<int>::max(), " keys, k has ", k.size(2));
  return problem;
}

// Calls run with a value of the kernels' type for the dtype.
template <typename Run>
void with_type(at::ScalarType dtype, Run run) {
  switch (dtype) {
    case at::kFloat:
      return run(float());
    case at::kHalf:
      return run(__half());
    case at::kBFloat16:
      return run(__nv_bfloat16());
    default:
      TORCH_CHECK_VALUE(false, "the CUDA kernels support float32, float16 and bfloat16, q has ", dtype);
  }
}

at::Tensor allocate_workspace(size_t size, const at::Tensor& like) {
  return at::empty({static_cast<int64_t>(size)}, like.options().dtype(at::kFloat));
}

float* writable_or_null(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.mutable_data_ptr<float>() : nullptr;
}

// Packed biases, and the settings that the kernels read besides the problem.
struct Packed {
  at::Tensor table, global_bias;
  bool allow_tf32;

  Packed(at::ScalarType dtype, const std::optional<at::Tensor>& bias_table,
         const std::optional<at::Tensor>& global_bias)
      : table(pack_table(bias_table, at::kFloat)),
        global_bias(pack_global_bias(global_bias, at::kFloat)),
        allow_tf32(dtype == at::kFloat && allows_tf32()) {}

  template <typename T>
  Inputs<T> inputs(const Problem& problem, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) const {
    return {problem,           read_tokens<T>(q),          read_tokens<T>(k),
            read_tokens<T>(v), data_or_null<float>(table), data_or_null<float>(global_bias),
            allow_tf32};
  }
};

std::tuple<at::Tensor, at::Tensor> run_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                               const std::optional<at::Tensor>& bias_table,
                                               const std::optional<at::Tensor>& global_bias, int64_t height,
                                               int64_t width, int64_t window_size, int64_t num_global_tokens,
                                               std::string_view mask, int64_t neighbors, double scale) {
  const Problem problem =
      check(q, k, v, bias_table, global_bias, height, width, window_size, num_global_tokens, mask, neighbors, scale);
  const c10::cuda::CUDAGuard guard(q.device());
  const auto queries = with_unit_stride(q), keys = with_unit_stride(k), values = with_unit_stride(v);
  const at::Tensor out = empty_tokens(q, q.scalar_type());
  const at::Tensor lse = at::empty({problem.batch, problem.heads, height * width}, q.options().dtype(at::kFloat));
  const Packed packed(q.scalar_type(), bias_table, global_bias);
  with_type(q.scalar_type(), [&](auto value) {
    using T = decltype(value);
    if (q.numel() == 0) return;
    const at::Tensor workspace = allocate_workspace(forward_workspace(problem, bias_table.has_value()), q);
    const Forward<T> pass = {packed.inputs<T>(problem, queries, keys, values), write_tokens<T>(out),
                             lse.mutable_data_ptr<float>()};
    C10_CUDA_CHECK(forward(pass, workspace.mutable_data_ptr<float>(), c10::cuda::getCurrentCUDAStream()));
  });
  return {out, lse};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> run_backward(
    const at::Tensor& grad_out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& out,
    const at::Tensor& lse, const std::optional<at::Tensor>& bias_table, const std::optional<at::Tensor>& global_bias,
    int64_t height, int64_t width, int64_t window_size, int64_t num_global_tokens, std::string_view mask,
    int64_t neighbors, double scale) {
  const Problem problem =
      check(q, k, v, bias_table, global_bias, height, width, window_size, num_global_tokens, mask, neighbors, scale);
  const c10::cuda::CUDAGuard guard(q.device());
  check_tokens("grad_out", grad_out, q.sizes(), q);
  check_tokens("out", out, q.sizes(), q);
  check_tensor("lse", lse, q.sizes().slice(0, 3), q);
  const auto queries = with_unit_stride(q), keys = with_unit_stride(k), values = with_unit_stride(v);
  const auto outputs = with_unit_stride(out), grad_outputs = with_unit_stride(grad_out);
  const auto log_sums = lse.to(at::kFloat).contiguous();
  const Packed packed(q.scalar_type(), bias_table, global_bias);
  const at::Tensor grad_q = empty_tokens(q, q.scalar_type());
  const at::Tensor grad_k = empty_tokens(k, k.scalar_type()), grad_v = empty_tokens(v, v.scalar_type());
  const at::Tensor table_sums = bias_table ? at::zeros_like(packed.table) : at::Tensor();
  const at::Tensor global_sums = global_bias ? at::zeros_like(packed.global_bias) : at::Tensor();
  with_type(q.scalar_type(), [&](auto value) {
    using T = decltype(value);
    if (q.numel() == 0) return;
    const at::Tensor workspace = allocate_workspace(backward_workspace<T>(problem, bias_table.has_value()), q);
    const Backward<T> pass = {packed.inputs<T>(problem, queries, keys, values),
                              read_tokens<T>(outputs),
                              read_tokens<T>(grad_outputs),
                              log_sums.const_data_ptr<float>(),
                              write_tokens<T>(grad_q),
                              write_tokens<T>(grad_k),
                              write_tokens<T>(grad_v),
                              writable_or_null(table_sums),
                              writable_or_null(global_sums)};
    C10_CUDA_CHECK(backward(pass, workspace.mutable_data_ptr<float>(), c10::cuda::getCurrentCUDAStream()));
  });
  at::Tensor grad_table = at::empty({0}, q.options()), grad_global_bias = at::empty({0}, q.options());
  if (bias_table) grad_table = table_sums.t().to(bias_table->scalar_type()).contiguous();
  if (global_bias) grad_global_bias = global_sums.to(global_bias->scalar_type());
  return {grad_q, grad_k, grad_v, grad_table, grad_global_bias};
}

}  // namespace
}  // namespace cuda

TORCH_LIBRARY_IMPL(vil_mm, CUDA, m) {
  m.impl("sliding_window_attention_forward", &cuda::run_forward);
  m.impl("sliding_window_attention_backward", &cuda::run_backward);
}

}  // namespace vil_mm
