// The schemas of the ops. Each device adds its implementation; autograd, fake tensors and FLOPs are in
// vil_mm/ops/_library.py.
#include <torch/csrc/stable/library.h>

#include <cstdint>
#include <vector>

#include "problem.h"

namespace {

// The order is that of CONSTANT_NAMES in vil_mm/ops/_library.py.
std::vector<int64_t> list_constants() {
  return {vil_mm::kAllNeighbors, vil_mm::kOwnChunk, vil_mm::kLastNeighbor, vil_mm::kMaxWindow,
          vil_mm::kMaxCudaHeadWidth};
}

}  // namespace

STABLE_TORCH_LIBRARY(vil_mm, m) {
  m.def("list_constants() -> int[]");
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

STABLE_TORCH_LIBRARY_IMPL(vil_mm, CompositeExplicitAutograd, m) {
  m.impl("list_constants", TORCH_BOX(&list_constants));
}
