// The binding of the CPU kernels: checks, allocates, divides the work into tasks and hands them to the threads.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

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

// Whether the kernels for (AVX2, AVX-512) can run.
std::pair<bool, bool> vector_instructions() {
  static const std::pair<bool, bool> result = [] {
    const char* limit = std::getenv("ATEN_CPU_CAPABILITY");
    const std::string name = limit ? limit : "";
    const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
                            __builtin_cpu_supports("avx512dq");
    return std::pair(has_avx2 && name != "default", has_avx512 && name != "default" && name != "avx2");
  }();
  return result;
}

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

// Chooses the best instruction set that the processor has; ATEN_CPU_CAPABILITY lowers it, as for PyTorch itself.
template <typename Arguments>
Kernel<Arguments> choose(Kernel<Arguments> portable, [[maybe_unused]] Kernel<Arguments> avx2,
                         [[maybe_unused]] Kernel<Arguments> avx512, [[maybe_unused]] Kernel<Arguments> low_precision) {
#if defined(__x86_64__)
  const auto [has_avx2, has_avx512] = vector_instructions();
  if (has_avx512) return low_precision && multiplies_bfloat16() ? low_precision : avx512;
  if (has_avx2) return avx2;
#endif
  return portable;
}

template <typename Arguments>
void run(Kernel<Arguments> kernel, const Arguments& arguments) {
  const Problem& problem = arguments.inputs.problem;
  const int64_t chunks = problem.batch * problem.heads * problem.rows().chunks() * problem.columns().chunks();
  Tasks tasks;
  // PyTorch would only report that a thread has failed; this keeps the exception.
  std::exception_ptr failure;
  std::atomic_flag has_failed = ATOMIC_FLAG_INIT;
  torch::stable::parallel_for(0, std::min<int64_t>(torch::stable::get_num_threads(), chunks), 1, [&](int64_t, int64_t) {
    try {
      kernel(arguments, tasks);
    } catch (...) {
      if (!has_failed.test_and_set()) failure = std::current_exception();
    }
  });
  if (failure) std::rethrow_exception(failure);
}

// Calls run with a number of the type that the dtype stands for.
template <typename Run>
void with_type(ScalarType dtype, Run run) {
  switch (dtype) {
    case ScalarType::Float:
      return run(float());
    case ScalarType::Double:
      return run(double());
    case ScalarType::Half:
      return run(c10::Half());
    case ScalarType::BFloat16:
      return run(c10::BFloat16());
    default:
      check(false, "the CPU kernels support float32, float64, float16 and bfloat16, q has ", toString(dtype));
  }
}

template <typename Real>
constexpr ScalarType kDtype = std::is_same_v<Real, double> ? ScalarType::Double : ScalarType::Float;

std::tuple<Tensor, Tensor> forward(const Tensor& q, const Tensor& k, const Tensor& v,
                                   const std::optional<Tensor>& bias_table, const std::optional<Tensor>& global_bias,
                                   int64_t height, int64_t width, int64_t window_size, int64_t num_global_tokens,
                                   StringHandle mask, int64_t neighbors, double scale) {
  const Problem problem = check_arguments(q, k, v, bias_table, global_bias, height, width, window_size,
                                          num_global_tokens, mask, neighbors, scale);
  const auto queries = with_unit_stride(q), keys = with_unit_stride(k), values = with_unit_stride(v);
  const Tensor out = empty_tokens(q, q.scalar_type());
  const Tensor lse = torch::stable::new_empty(q, {problem.batch, problem.heads, height * width}, ScalarType::Double);
  with_type(q.scalar_type(), [&](auto number) {
    using T = decltype(number);
    using Real = ComputeType<T>;
    constexpr ScalarType real = kDtype<Real>;
    const auto table = pack_table(bias_table, real), globals = pack_global_bias(global_bias, real);
    const Forward<T> arguments = {{problem, read_tokens<T>(queries), read_tokens<T>(keys), read_tokens<T>(values),
                                   data_or_null<Real>(table), data_or_null<Real>(globals)},
                                  write_tokens<T>(out),
                                  lse.mutable_data_ptr<double>()};
    run<Forward<T>>(choose<Forward<T>>(portable::forward, avx2::forward, avx512::forward, LowPrecision<T>::forward),
                    arguments);
  });
  return {out, lse};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> backward(
    const Tensor& grad_out, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out, const Tensor& lse,
    const std::optional<Tensor>& bias_table, const std::optional<Tensor>& global_bias, int64_t height, int64_t width,
    int64_t window_size, int64_t num_global_tokens, StringHandle mask, int64_t neighbors, double scale) {
  const Problem problem = check_arguments(q, k, v, bias_table, global_bias, height, width, window_size,
                                          num_global_tokens, mask, neighbors, scale);
  check_tokens("grad_out", grad_out, q.sizes(), q);
  check_tokens("out", out, q.sizes(), q);
  check_tensor("lse", lse, q.sizes().slice(0, 3), q);
  const auto queries = with_unit_stride(q), keys = with_unit_stride(k), values = with_unit_stride(v);
  const auto grad_outputs = with_unit_stride(grad_out);
  const auto log_sums = pack(lse, ScalarType::Double);
  const int64_t side = bias_side(problem.window);
  const Tensor grad_q = empty_tokens(q, q.scalar_type());
  Tensor grad_k, grad_v;
  Tensor grad_table = torch::stable::new_empty(q, {0}), grad_global_bias = torch::stable::new_empty(q, {0});
  with_type(q.scalar_type(), [&](auto number) {
    using T = decltype(number);
    using Real = ComputeType<T>;
    constexpr ScalarType real = kDtype<Real>;
    const auto table = pack_table(bias_table, real), globals = pack_global_bias(global_bias, real);
    grad_k = empty_tokens(k, real), grad_v = empty_tokens(v, real);
    torch::stable::zero_(grad_k), torch::stable::zero_(grad_v);
    const auto zeros = [&](int64_t width, ScalarType dtype) {
      return torch::stable::new_zeros(q, {problem.batch, problem.heads, width}, dtype);
    };
    const Tensor table_sums = bias_table ? zeros(side * side, real) : Tensor();
    const Tensor global_bias_sums = global_bias ? zeros(num_global_tokens, ScalarType::Double) : Tensor();
    const Tensor turns = zeros(1, ScalarType::Long);
    const Backward<T> arguments = {{problem, read_tokens<T>(queries), read_tokens<T>(keys), read_tokens<T>(values),
                                    data_or_null<Real>(table), data_or_null<Real>(globals)},
                                   read_tokens<T>(grad_outputs),
                                   log_sums.const_data_ptr<double>(),
                                   write_tokens<T>(grad_q),
                                   write_tokens<Real>(grad_k),
                                   write_tokens<Real>(grad_v),
                                   bias_table ? table_sums.template mutable_data_ptr<Real>() : nullptr,
                                   global_bias ? global_bias_sums.template mutable_data_ptr<double>() : nullptr,
                                   turns.template mutable_data_ptr<int64_t>()};
    run<Backward<T>>(
        choose<Backward<T>>(portable::backward, avx2::backward, avx512::backward, LowPrecision<T>::backward),
        arguments);
    const std::vector<int64_t> images = {0};
    if (bias_table) {
      const Tensor sums = torch::stable::sum(table_sums, images);
      grad_table = pack(torch::stable::transpose(sums, 0, 1), bias_table->scalar_type());
    }
    if (global_bias)
      grad_global_bias = convert(torch::stable::sum(global_bias_sums, images), global_bias->scalar_type());
  });
  return {grad_q, convert(grad_k, k.scalar_type()), convert(grad_v, v.scalar_type()), grad_table, grad_global_bias};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vil_mm, CPU, m) {
  m.impl("sliding_window_attention_forward", TORCH_BOX(&forward));
  m.impl("sliding_window_attention_backward", TORCH_BOX(&backward));
}

}  // namespace vil_mm
