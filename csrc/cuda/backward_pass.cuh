// The backward pass: its kernels one after another. No two blocks add to the same memory at the same time, so that
// results are the same bit for bit in every run.
#pragma once

#include <cmath>

#include "backward_delta.cuh"
#include "reduce.h"

namespace vil_mm {
namespace cuda {

template <typename T>
struct ReduceGlobalArguments {
  Problem problem;
  GlobalParts parts;
  Tokens<T> grad_k, grad_v;
  int64_t count;  // values of all global tokens
};

constexpr int kReduceThreads = 256;

// A thread per value of the global tokens' keys and values.
template <typename T>
__global__ void __launch_bounds__(kReduceThreads)
    reduce_global_keys_kernel(const __grid_constant__ ReduceGlobalArguments<T> arguments) {
  const Problem& problem = arguments.problem;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kReduceThreads + threadIdx.x;
  if (index >= arguments.count) return;
  const int64_t size = static_cast<int64_t>(problem.num_global) * problem.head_width;  // of a head
  const int64_t head_index = index / size, place = index % size;
  const int64_t first = head_index * arguments.parts.splits * size + place;
  float key_sum = 0, value_sum = 0;
  for (int split = 0; split < arguments.parts.splits; ++split) {
    key_sum += arguments.parts.k[first + split * size];
    value_sum += arguments.parts.v[first + split * size];
  }
  const int64_t batch = head_index / problem.heads, head = head_index % problem.heads;
  const int64_t token = place / problem.head_width, column = place % problem.head_width;
  store(arguments.grad_k.at(batch, head, token) + column, key_sum);
  store(arguments.grad_v.at(batch, head, token) + column, value_sum);
}

template <typename T>
cudaError_t reduce_global(const Backward<T>& pass, const GlobalParts& parts, cudaStream_t stream) {
  const Problem& problem = pass.inputs.problem;
  if (problem.num_global == 0) return cudaSuccess;
  const int64_t count = problem.batch * problem.heads * problem.num_global * problem.head_width;
  const ReduceGlobalArguments<T> arguments = {problem, parts, pass.grad_k, pass.grad_v, count};
  VIL_MM_RETURN_IF_ERROR(launch(reduce_global_keys_kernel<T>, (count + kReduceThreads - 1) / kReduceThreads,
                                kReduceThreads, 0, stream, arguments));
  if (pass.grad_global_bias == nullptr) return cudaSuccess;
  return reduce_global_bias(
      {problem.batch, problem.heads, parts.splits, problem.num_global, parts.bias, pass.grad_global_bias}, stream);
}

template <typename T>
size_t backward_workspace(const Problem& problem, bool has_bias_table) {
  return plan_workspace(problem, has_bias_table, std::is_same_v<T, float>, nullptr).size;
}

template <typename T>
cudaError_t backward(const Backward<T>& pass, float* workspace, cudaStream_t stream) {
  const Inputs<T>& inputs = pass.inputs;
  const Problem& problem = inputs.problem;
  const BackwardWorkspace plan =
      plan_workspace(problem, inputs.bias_table != nullptr, std::is_same_v<T, float>, workspace);
  BackwardArguments<T> arguments = {};
  arguments.pass = pass;
  arguments.delta = plan.delta;
  arguments.correction = plan.correction;
  arguments.aligned = is_aligned(problem.head_width, inputs.q, inputs.k, inputs.v, pass.grad_out, pass.grad_q,
                                 pass.grad_k, pass.grad_v);
  VIL_MM_RETURN_IF_ERROR(
      prepare_table(problem, inputs.bias_table, kScoreUnit<T>, plan.prepared_table, stream, &arguments.table));
  VIL_MM_RETURN_IF_ERROR(with_arithmetic<T>(inputs.allow_tf32, [&](auto arithmetic) {
    if constexpr (kExact<T, arithmetic()>) {
      arguments.shift = std::log(static_cast<float>(problem.num_global + RelativeKeys(problem).size()));
    } else {
      VIL_MM_RETURN_IF_ERROR(compute_delta(pass, plan.delta, stream));
    }
    VIL_MM_RETURN_IF_ERROR((backward_queries<T, arithmetic()>(arguments, stream)));
    VIL_MM_RETURN_IF_ERROR((backward_keys<T, arithmetic()>(arguments, plan.global, stream)));
    if (pass.grad_bias_table == nullptr) return cudaSuccess;
    return backward_table<T, arithmetic()>(arguments, plan.table, stream);
  }));
  return reduce_global(pass, plan.global, stream);
}

}  // namespace cuda
}  // namespace vil_mm
