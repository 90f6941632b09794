// Whether PyTorch's settings allow products of floats in TF32. The getter of its older settings throws where the newer
// ones are in use.
#pragma once

#include <ATen/Context.h>
#include <torch/version.h>

namespace vil_mm {

inline bool allows_tf32() {
  const at::Context& context = at::globalContext();
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 10
  return context.float32Precision(at::Float32Backend::CUDA, at::Float32Op::MATMUL) == at::Float32Precision::TF32;
#elif TORCH_VERSION_MINOR == 9
  return context.float32Precision("cuda", "matmul") == "tf32";
#else
  return context.allowTF32CuBLAS();
#endif
}

}  // namespace vil_mm
