// The binding of the CPU kernels: checks, allocates, divides the work into tasks and hands them to the threads.
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/library.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "../checks.h"
#include "kernels.h"

namespace vil_mm {
namespace {

template <typename Arguments>
using Kernel = void (*)(const Arguments&, Tasks&);

// The kernels that use products of a 16-bit type, if there are any.
template <typename T>
struct LowPrecision {
  static constexpr Kernel<Forward<T>> forward = nullptr;
  static constexpr Kernel<Backward<T>> backward = nullptr;
};
#if defined(__x86_64__)
template <>
struct LowPrecision<c10::BFloat16> {
  static constexpr Kernel<Forward<c10::BFloat16>> forward = avx512_bf16::forward;
  static constexpr Kernel<Backward<c10::BFloat16>> backward = avx512_bf16::backward;
};

// Whether the processor multiplies bfloat16, and oneDNN's variable does not forbid it, which lowers what PyTorch's own
// products use.
bool multiplies_bfloat16() {
  static const bool result = [] {
    const char* limit = std::getenv("ONEDNN_MAX_CPU_ISA");
    const std::string name = limit ? limit : "ALL";
    for (const char* lower : {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"})
      if (name == lower) return false;
    return __builtin_cpu_supports("avx512bf16") != 0;
  }();
  return result;
}
#endif

// Chooses the best instruction set that PyTorch sees; ATEN_CPU_CAPABILITY lowers it, as for PyTorch itself.
template <typename Arguments>
Kernel<Arguments> choose(Kernel<Arguments> portable, [[maybe_unused]] Kernel<Arguments> avx2,
                         [[maybe_unused]] Kernel<Arguments> avx512, [[maybe_unused]] Kernel<Arguments> low_precision) {
#if defined(__x86_64__)
  const std::string capability = at::get_cpu_capability();
  if (capability == "AVX512") return low_precision && multiplies_bfloat16() ? low_precision : avx512;
  if (capability == "AVX2") return avx2;
#endif
  return portable;
}

template <typename Arguments>
void run(Kernel<Arguments> kernel, const Arguments& arguments) {
  const Problem& problem = arguments.inputs.problem;
  const int64_t chunks = problem.batch * problem.heads * problem.rows().chunks() * problem.columns().chunks();
  Tasks tasks;
  at::parallel_for(0, std::min<int64_t>(at::get_num_threads(), chunks), 1,
                   [&](int64_t, int64_t) { kernel(arguments, tasks); });
}

std::tuple<at::Tensor, at::Tensor> forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                           const std::optional<at::Tensor>& bias_table,
                                           const std::optional<at::Tensor>& global_bias, int64_t height, int64_t width,
                                           int64_t window_size, int64_t num_global_tokens, std::string_view mask,
                                           int64_t neighbors, double scale) {
  const Problem problem = check_arguments(q, k, v, bias_table, global_bias, height, width, window_size,
                                          num_global_tokens, mask, neighbors, scale);
  const auto queries = with_unit_stride(q), keys = with_unit_stride(k), values = with_unit_stride(v);
  const at::Tensor out = empty_tokens(q, q.scalar_type());
  const at::Tensor lse = at::empty({problem.batch, problem.heads, height * width}, q.options().dtype(at::kDouble));
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, q.scalar_type(), "sliding_window_attention_forward", [&] {
    using Real = ComputeType<scalar_t>;
    const auto real = c10::CppTypeToScalarType<Real>::value;
    const auto table = pack_table(bias_table, real), globals = pack_global_bias(global_bias, real);
    const Forward<scalar_t> arguments = {
        {problem, read_tokens<scalar_t>(queries), read_tokens<scalar_t>(keys), read_tokens<scalar_t>(values),
         data_or_null<Real>(table), data_or_null<Real>(globals)},
        write_tokens<scalar_t>(out),
        lse.mutable_data_ptr<double>()};
    run<Forward<scalar_t>>(
        choose<Forward<scalar_t>>(portable::forward, avx2::forward, avx512::forward, LowPrecision<scalar_t>::forward),
        arguments);
  });
  return {out, lse};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> backward(
    const at::Tensor& grad_out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& out,
    const at::Tensor& lse, const std::optional<at::Tensor>& bias_table, const std::optional<at::Tensor>& global_bias,
    int64_t height, int64_t width, int64_t window_size, int64_t num_global_tokens, std::string_view mask,
    int64_t neighbors, double scale) {
  const Problem problem = check_arguments(q, k, v, bias_table, global_bias, height, width, window_size,
                                          num_global_tokens, mask, neighbors, scale);
  check_tokens("grad_out", grad_out, q.sizes(), q);
  check_tokens("out", out, q.sizes(), q);
  check_tensor("lse", lse, q.sizes().slice(0, 3), q);
  const auto queries = with_unit_stride(q), keys = with_unit_stride(k), values = with_unit_stride(v);
  const auto grad_outputs = with_unit_stride(grad_out);
  const auto log_sums = lse.to(at::kDouble).contiguous();
  const int64_t side = bias_side(problem.window);
  const at::Tensor grad_q = empty_tokens(q, q.scalar_type());
  at::Tensor grad_k, grad_v, grad_table = at::empty({0}, q.options()), grad_global_bias = at::empty({0}, q.options());
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, q.scalar_type(), "sliding_window_attention_backward", [&] {
    using Real = ComputeType<scalar_t>;
    const auto real = c10::CppTypeToScalarType<Real>::value;
    const auto table = pack_table(bias_table, real), globals = pack_global_bias(global_bias, real);
    grad_k = empty_tokens(k, real).zero_(), grad_v = empty_tokens(v, real).zero_();
    const auto zeros = [&](int64_t width, at::ScalarType dtype) {
      return at::zeros({problem.batch, problem.heads, width}, q.options().dtype(dtype));
    };
    const auto table_sums = zeros(bias_table ? side * side : 0, real);
    const auto global_bias_sums = zeros(global_bias ? num_global_tokens : 0, at::kDouble), turns = zeros(1, at::kLong);
    const Backward<scalar_t> arguments = {
        {problem, read_tokens<scalar_t>(queries), read_tokens<scalar_t>(keys), read_tokens<scalar_t>(values),
         data_or_null<Real>(table), data_or_null<Real>(globals)},
        read_tokens<scalar_t>(grad_outputs),
        log_sums.const_data_ptr<double>(),
        write_tokens<scalar_t>(grad_q),
        write_tokens<Real>(grad_k),
        write_tokens<Real>(grad_v),
        bias_table ? table_sums.template mutable_data_ptr<Real>() : nullptr,
        global_bias ? global_bias_sums.template mutable_data_ptr<double>() : nullptr,
        turns.template mutable_data_ptr<int64_t>()};
    run<Backward<scalar_t>>(choose<Backward<scalar_t>>(portable::backward, avx2::backward, avx512::backward,
                                                       LowPrecision<scalar_t>::backward),
                            arguments);
    if (bias_table) grad_table = table_sums.sum(0).t().to(bias_table->scalar_type()).contiguous();
    if (global_bias) grad_global_bias = global_bias_sums.sum(0).to(global_bias->scalar_type());
  });
  return {grad_q, grad_k.to(k.scalar_type()), grad_v.to(v.scalar_type()), grad_table, grad_global_bias};
}

}  // namespace

TORCH_LIBRARY_IMPL(vil_mm, CPU, m) {
  m.impl("sliding_window_attention_forward", &forward);
  m.impl("sliding_window_attention_backward", &backward);
}

}  // namespace vil_mm
