// The kernels for Python's ctypes.
#include "block.cuh"
#include "cuda_runtime.h"
#include "sliding_window_cuda.h"

namespace vil_mm {
namespace cuda {
namespace {

// The fields are those in test_cuda_emulated.py. Strides are in elements: batch, head, token.
struct TensorView {
  void* data;
  int64_t strides[3];

  template <typename T>
  operator Tokens<T>() const {
    return {static_cast<T*>(data), strides[0], strides[1], strides[2]};
  }
};

struct Call {
  int64_t batch, heads;
  const char* mask;
  int height, width, window, num_global, head_width, neighbors, allow_tf32;
  double scale;
  TensorView q, k, v, out, grad_out, grad_q, grad_k, grad_v;
  const float *bias_table, *global_bias;
  float *lse, *grad_bias_table, *grad_global_bias, *workspace;

  Problem problem() const {
    return {batch, heads, height, width, window, num_global, head_width, *parse_mask(mask), neighbors, scale};
  }

  template <typename T>
  Inputs<T> inputs() const {
    return {problem(), q, k, v, bias_table, global_bias, allow_tf32 != 0};
  }

  template <typename T>
  int run_forward() const {
    return forward<T>({inputs<T>(), out, lse}, workspace, nullptr);
  }

  template <typename T>
  size_t workspace_of_backward() const {
    return backward_workspace<T>(problem(), bias_table != nullptr);
  }

  template <typename T>
  int run_backward() const {
    return backward<T>({inputs<T>(), out, grad_out, lse, grad_q, grad_k, grad_v, grad_bias_table, grad_global_bias},
                       workspace, nullptr);
  }
};

// A block that has 16 KB for each of its stages.
struct Buffers {
  template <typename Memory>
  Buffers(Memory& memory, const BlockShape& shape, const Table&) {
    memory.template take<char>(shape.stages * 16 * 1024);
  }
};

int planned_stages() {
  void (*kernel)(int) = [](int) {};
  Table table = {};
  BlockShape shape;
  size_t bytes;
  return plan_block<Buffers>(kernel, kMaxTileRows, &table, &shape, &bytes) == cudaSuccess ? shape.stages : 0;
}

}  // namespace
}  // namespace cuda
}  // namespace vil_mm

using vil_mm::cuda::Call;

extern "C" {

int call_size() { return sizeof(Call); }
int all_neighbors() { return vil_mm::kAllNeighbors; }
int own_chunk() { return vil_mm::kOwnChunk; }

void configure(size_t shared_memory_limit, unsigned seed, int registers) {
  emulator::settings = {shared_memory_limit, seed, registers};
}

int planned_stages() { return vil_mm::cuda::planned_stages(); }

size_t forward_workspace(const Call* call) {  // the same for all types
  return vil_mm::cuda::forward_workspace(call->problem(), call->bias_table != nullptr);
}
#define VIL_MM_BIND(suffix, type)                                                                      \
  size_t backward_workspace_##suffix(const Call* call) { return call->workspace_of_backward<type>(); } \
  /* These return a cudaError_t. */                                                                    \
  int forward_##suffix(const Call* call) { return call->run_forward<type>(); }                         \
  int backward_##suffix(const Call* call) { return call->run_backward<type>(); }

#if defined(VIL_MM_EMULATE_FLOAT)
VIL_MM_BIND(float, float)
#endif
#if defined(VIL_MM_EMULATE_HALF)
VIL_MM_BIND(half, __half)
#endif
#if defined(VIL_MM_EMULATE_BFLOAT16)
VIL_MM_BIND(bfloat16, __nv_bfloat16)
#endif
}
