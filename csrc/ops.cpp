// The schemas of the ops. Each device adds its implementation; autograd, fake tensors and FLOPs are in
// vil_mm/ops/_library.py.
#include <torch/library.h>

// neighbors: 0 for all chunks of the neighborhood, -1 for the own one, 1 to 8 for the own one and that neighbor.
TORCH_LIBRARY(vil_mm, m) {
  // (out, log-sum-exp)
  m.def(
      "sliding_window_attention_forward(Tensor q, Tensor k, Tensor v, Tensor? bias_table, Tensor? global_bias, "
      "SymInt height, SymInt width, int window_size, int num_global_tokens, str mask, int neighbors, float scale) "
      "-> (Tensor, Tensor)");
  // Gradients of (q, k, v, bias_table, global_bias); empty for biases that are absent.
  m.def(
      "sliding_window_attention_backward(Tensor grad_out, Tensor q, Tensor k, Tensor v, Tensor out, Tensor lse, "
      "Tensor? bias_table, Tensor? global_bias, SymInt height, SymInt width, int window_size, int num_global_tokens, "
      "str mask, int neighbors, float scale) -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
}
