// Launches kernels, each of which takes one structure of arguments.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <limits>

namespace vil_mm {
namespace cuda {

#define VIL_MM_RETURN_IF_ERROR(expression)    \
  do {                                        \
    const cudaError_t status = (expression);  \
    if (status != cudaSuccess) return status; \
  } while (false)

// Warps of a block.
constexpr int kMaxWarps = 4;

// The most shared memory that a block can have on the current device, in bytes.
inline cudaError_t shared_memory_limit(int* bytes) {
  int device;
  VIL_MM_RETURN_IF_ERROR(cudaGetDevice(&device));
  return cudaDeviceGetAttribute(bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
}

template <typename Arguments>
cudaError_t launch(void (*kernel)(Arguments), int64_t blocks, int threads, size_t shared_bytes, cudaStream_t stream,
                   const Arguments& arguments) {
  if (blocks == 0) return cudaSuccess;
  if (blocks > std::numeric_limits<int32_t>::max()) return cudaErrorInvalidConfiguration;
  constexpr size_t kGrantedToAll = 48 * 1024;
  if (shared_bytes > kGrantedToAll) {
    VIL_MM_RETURN_IF_ERROR(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                                cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                static_cast<int>(shared_bytes)));
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, arguments);
}

}  // namespace cuda
}  // namespace vil_mm
