// The schemas of the ops. Each device adds its implementation; autograd, fake tensors and FLOPs are in
// vil_mm/ops/_library.py.
#include <torch/library.h>

#include "precision.h"
#include "problem.h"

namespace {

// Codes and limits for vil_mm/ops.
c10::Dict<std::string, int64_t> constants() {
  c10::Dict<std::string, int64_t> constants;
  constants.insert("all_neighbors", vil_mm::kAllNeighbors);
  constants.insert("own_chunk", vil_mm::kOwnChunk);
  constants.insert("last_neighbor", vil_mm::kLastNeighbor);
  constants.insert("max_window_size", vil_mm::kMaxWindow);
  constants.insert("max_cuda_head_width", vil_mm::kMaxCudaHeadWidth);
  return constants;
}

}  // namespace

TORCH_LIBRARY(vil_mm, m) {
  m.def("constants() -> Dict(str, int)", &constants);
  // Whether the CUDA kernels compute float32 in TF32.
  m.def("allows_tf32() -> bool", &vil_mm::allows_tf32);
  // (out, log-sum-exp). neighbors: see kAllNeighbors.
  m.def(
      "sliding_window_attention_forward(Tensor q, Tensor k, Tensor v, Tensor? bias_table, Tensor? global_bias, "
      "SymInt height, SymInt width, SymInt window_size, SymInt num_global_tokens, str mask, int neighbors, float "
      "scale) "
      "-> (Tensor, Tensor)");
  // Gradients of (q, k, v, bias_table, global_bias); empty for biases that are absent.
  m.def(
      "sliding_window_attention_backward(Tensor grad_out, Tensor q, Tensor k, Tensor v, Tensor out, Tensor lse, "
      "Tensor? bias_table, Tensor? global_bias, SymInt height, SymInt width, SymInt window_size, SymInt "
      "num_global_tokens, "
      "str mask, int neighbors, float scale) -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
}
