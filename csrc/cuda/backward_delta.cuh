// Computes delta of each query from its output: the sum of the output's elements times their gradients.
#pragma once

#include "backward.cuh"

namespace vil_mm {
namespace cuda {

template <typename T>
struct DeltaArguments {
  Problem problem;
  Tokens<const T> out, grad_out;
  float* delta;
  int64_t count;  // queries of all heads
  bool aligned;
};

constexpr int kDeltaLanes = 8;  // per query
constexpr int kDeltaThreads = 256;
static_assert(kWarpSize % kDeltaLanes == 0 && kDeltaThreads % kWarpSize == 0, "a query's lanes are in one warp");

template <typename T>
__global__ void __launch_bounds__(kDeltaThreads) delta_kernel(const __grid_constant__ DeltaArguments<T> arguments) {
  const Problem& problem = arguments.problem;
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * kDeltaThreads + threadIdx.x;
  const int64_t index = thread / kDeltaLanes, head_index = index / num_queries(problem);
  const int lane = static_cast<int>(thread % kDeltaLanes);
  float sum = 0;
  if (index < arguments.count) {
    const int64_t batch = head_index / problem.heads, head = head_index % problem.heads;
    const int64_t token = index - head_index * num_queries(problem);
    const T* out = arguments.out.at(batch, head, token);
    const T* grad_out = arguments.grad_out.at(batch, head, token);
    if (arguments.aligned) {
      for (int i = 4 * lane; i < problem.head_width; i += 4 * kDeltaLanes) {
        float values[4], gradients[4];
        load4(values, out + i);
        load4(gradients, grad_out + i);
#pragma unroll
        for (int j = 0; j < 4; ++j) sum += values[j] * gradients[j];
      }
    } else {
      for (int i = lane; i < problem.head_width; i += kDeltaLanes) sum += to_float(out[i]) * to_float(grad_out[i]);
    }
  }
#pragma unroll
  for (int mask = 1; mask < kDeltaLanes; mask *= 2) sum += shuffle_xor(sum, mask);
  if (lane == 0 && index < arguments.count) arguments.delta[index] = sum;
}

template <typename T>
cudaError_t compute_delta(const Backward<T>& pass, float* delta, cudaStream_t stream) {
  const Problem& problem = pass.inputs.problem;
  const int64_t count = problem.batch * problem.heads * num_queries(problem);
  const bool aligned = is_aligned(problem.head_width, pass.out, pass.grad_out);
  const DeltaArguments<T> arguments = {problem, pass.out, pass.grad_out, delta, count, aligned};
  constexpr int kQueriesOfBlock = kDeltaThreads / kDeltaLanes;
  return launch(delta_kernel<T>, (count + kQueriesOfBlock - 1) / kQueriesOfBlock, kDeltaThreads, 0, stream, arguments);
}

}  // namespace cuda
}  // namespace vil_mm
