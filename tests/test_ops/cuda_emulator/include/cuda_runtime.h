// The part of CUDA's runtime that the kernels' source uses, for a host compiler: a launch runs immediately on the CPU.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "../emulator.h"

#define __global__
#define __grid_constant__
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)

struct int2 {
  int x, y;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1) : x(x), y(1), z(1) {}
};

// One block and one fiber run at a time.
inline dim3 threadIdx, blockIdx, blockDim;

enum cudaError_t { cudaSuccess, cudaErrorInvalidConfiguration, cudaErrorLaunchFailure };
enum cudaDeviceAttr { cudaDevAttrMaxSharedMemoryPerBlockOptin };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
using cudaStream_t = void*;

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
};

inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = static_cast<int>(emulator::settings.shared_memory_limit);
  return cudaSuccess;
}

inline cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }

template <typename Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Arguments),
                               const Arguments& arguments) {
  if (config->dynamicSmemBytes > emulator::settings.shared_memory_limit) return cudaErrorInvalidConfiguration;
  blockDim = config->blockDim;
  const auto enter_block = [](unsigned block) { blockIdx.x = block; };
  const auto enter_thread = [](unsigned thread) { threadIdx.x = thread; };
  const bool finished = emulator::run(config->gridDim.x, config->blockDim.x, config->dynamicSmemBytes, enter_block,
                                      enter_thread, [=] { kernel(arguments); });
  return finished ? cudaSuccess : cudaErrorLaunchFailure;
}
