// Arguments of the CPU kernels, which are compiled once per instruction set, see kernels_*.cpp.
#pragma once

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

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

// Gradients of keys and values are added to those already there. Parts, one per task, are overwritten.
template <typename T>
struct Backward {
  Inputs<T> inputs;
  Tokens<const T> grad_out;
  const double* lse;
  Tokens<T> grad_q;
  Tokens<ComputeType<T>> grad_k, grad_v;       // of the grid's tokens
  ComputeType<T>*grad_k_parts, *grad_v_parts;  // (tasks, G, d), of the global tokens
  ComputeType<T>* grad_table_parts;            // (tasks, bias_side^2), or null
  ComputeType<T>* grad_global_bias_parts;      // (tasks, G), or null
};

// A task is a row of chunks of one head of one image: task = (image * heads + head) * chunk rows + chunk row. In the
// backward, tasks whose chunk rows are less than three apart (around the grid if cyclic) add to the same keys'
// gradients. Each thread takes the next task when it is done with one, so that a slow thread does not hold up the
// others.
struct Tasks {
  const int64_t* numbers;
  int64_t count;
  int64_t taken = 0;

  __attribute__((always_inline)) int64_t take() { return __atomic_fetch_add(&taken, 1, __ATOMIC_RELAXED); }
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

}  // namespace vil_mm
