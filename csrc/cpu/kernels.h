// Arguments of the CPU kernels, which are compiled once per instruction set, see kernels_*.cpp.
#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "../problem.h"

namespace vil_mm {

// The precision that a storage type is computed in.
template <typename T>
struct Compute {
  using type = float;
};
template <>
struct Compute<double> {
  using type = double;
};
template <typename T>
using ComputeType = typename Compute<T>::type;

// What both forward and backward read. The biases may be null.
template <typename T>
struct Inputs {
  Problem problem;
  Tokens<const T> q, k, v;
  const ComputeType<T>* bias_table;   // (heads, bias_side^2)
  const ComputeType<T>* global_bias;  // (heads, G)
};

template <typename T>
struct Forward {
  Inputs<T> inputs;
  Tokens<T> out;
  double* lse;  // (batch, heads, h * w), natural logarithm
};

// All gradients but those of the queries are added to what is there.
template <typename T>
struct Backward {
  Inputs<T> inputs;
  Tokens<const T> grad_out;
  const double* lse;
  Tokens<T> grad_q;
  Tokens<ComputeType<T>> grad_k, grad_v;
  ComputeType<T>* grad_table;  // (batch, heads, bias_side^2), or null
  double* grad_global_bias;    // (batch, heads, G), or null
  int64_t* turns;              // (batch, heads), zeros
};

// A task is a span of a row of chunks of one head of one image. Each thread takes the next task when it is done with
// one, so that a slow thread does not hold up the others.
struct Tasks {
  int64_t taken = 0;

  __attribute__((always_inline)) int64_t take() { return __atomic_fetch_add(&taken, 1, __ATOMIC_RELAXED); }
  __attribute__((always_inline)) int64_t begun() const { return __atomic_load_n(&taken, __ATOMIC_RELAXED); }
};

#define VIL_MM_DECLARE_KERNELS(isa)                      \
  namespace isa {                                        \
  void forward(const Forward<float>&, Tasks&);           \
  void forward(const Forward<double>&, Tasks&);          \
  void forward(const Forward<c10::Half>&, Tasks&);       \
  void forward(const Forward<c10::BFloat16>&, Tasks&);   \
  void backward(const Backward<float>&, Tasks&);         \
  void backward(const Backward<double>&, Tasks&);        \
  void backward(const Backward<c10::Half>&, Tasks&);     \
  void backward(const Backward<c10::BFloat16>&, Tasks&); \
  }
VIL_MM_DECLARE_KERNELS(portable)
VIL_MM_DECLARE_KERNELS(avx2)
VIL_MM_DECLARE_KERNELS(avx512)
#undef VIL_MM_DECLARE_KERNELS

namespace avx512_bf16 {
void forward(const Forward<c10::BFloat16>&, Tasks&);
void backward(const Backward<c10::BFloat16>&, Tasks&);
}  // namespace avx512_bf16

}  // namespace vil_mm
