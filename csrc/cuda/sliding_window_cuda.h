// Sliding-window attention on CUDA devices: what the kernels offer to the host.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "../problem.h"

namespace vil_mm {
namespace cuda {

// What both forward and backward read. The biases may be null; both are contiguous.
template <typename T>
struct Inputs {
  Problem problem;
  Tokens<const T> q, k, v;
  const float* bias_table;   // (heads, bias_side^2)
  const float* global_bias;  // (heads, G)
  bool allow_tf32;           // for float
};

template <typename T>
struct Forward {
  Inputs<T> inputs;
  Tokens<T> out;
  float* lse;  // (batch, heads, h * w), natural logarithm
};

// Every gradient is overwritten.
template <typename T>
struct Backward {
  Inputs<T> inputs;
  Tokens<const T> out, grad_out;
  const float* lse;
  Tokens<T> grad_q, grad_k, grad_v;
  float* grad_bias_table;   // (heads, bias_side^2), or null
  float* grad_global_bias;  // (heads, G), or null
};

// How many floats of scratch memory a pass needs. They need not be cleared.
size_t forward_workspace(const Problem& problem, bool has_bias_table);
template <typename T>
size_t backward_workspace(const Problem& problem, bool has_bias_table);

// For T = float, __half or __nv_bfloat16, head widths from 1 to kMaxCudaHeadWidth, and at least one query.
template <typename T>
cudaError_t forward(const Forward<T>& pass, float* workspace, cudaStream_t stream);
template <typename T>
cudaError_t backward(const Backward<T>& pass, float* workspace, cudaStream_t stream);

}  // namespace cuda
}  // namespace vil_mm
