// Launches kernels, each of which takes one structure of arguments.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <limits>
#include <mutex>
#include <set>
#include <utility>

namespace vil_mm {
namespace cuda {

#define VIL_MM_RETURN_IF_ERROR(expression)    \
  do {                                        \
    const cudaError_t status = (expression);  \
    if (status != cudaSuccess) return status; \
  } while (false)

// Warps of a block.
constexpr int kMaxWarps = 4;

// The most shared memory that a block can have on the current device, in bytes. The kernel is allowed to use all of it,
// once and for all: a limit as large as each launch needs could be lowered by another thread in between.
inline cudaError_t allow_shared_memory(const void* kernel, int* bytes) {
  int device;
  VIL_MM_RETURN_IF_ERROR(cudaGetDevice(&device));
  VIL_MM_RETURN_IF_ERROR(cudaDeviceGetAttribute(bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  static std::mutex mutex;
  static std::set<std::pair<const void*, int>> allowed;
  const std::lock_guard<std::mutex> lock(mutex);
  if (allowed.count({kernel, device}) != 0) return cudaSuccess;
  VIL_MM_RETURN_IF_ERROR(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, *bytes));
  allowed.emplace(kernel, device);
  return cudaSuccess;
}

template <typename Arguments>
cudaError_t launch(void (*kernel)(Arguments), int64_t blocks, int threads, size_t shared_bytes, cudaStream_t stream,
                   const Arguments& arguments) {
  if (blocks == 0) return cudaSuccess;
  if (blocks > std::numeric_limits<int32_t>::max()) return cudaErrorInvalidConfiguration;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, arguments);
}

}  // namespace cuda
}  // namespace vil_mm
