// The part of CUDA's runtime that the kernels' source uses, for a host compiler: a launch runs immediately on the CPU.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>

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
  *device = static_cast<int>(emulator::settings.shared_memory_limit);
  return cudaSuccess;
}

inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = static_cast<int>(emulator::settings.shared_memory_limit);
  return cudaSuccess;
}

// The shared memory that kernels have been allowed to use, beyond what all may.
inline std::map<std::pair<const void*, int>, size_t> allowed_bytes;

inline cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int bytes) {
  int device;
  cudaGetDevice(&device);
  const bool set_before = !allowed_bytes.emplace(std::make_pair(kernel, device), bytes).second;
  return set_before ? cudaErrorInvalidConfiguration : cudaSuccess;  // so that threads cannot undo what others set
}

inline bool is_allowed(const void* kernel, size_t bytes) {
  constexpr size_t kAllowedToAll = 48 * 1024;
  int device;
  cudaGetDevice(&device);
  const auto found = allowed_bytes.find({kernel, device});
  return bytes <= (found == allowed_bytes.end() ? kAllowedToAll : found->second);
}

// How many blocks a multiprocessor has registers and shared memory for, 1 KB of which is reserved in each block.
inline cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void* kernel, int threads,
                                                                 size_t bytes) {
  constexpr size_t kRegisters = 64 * 1024, kReserved = 1024;
  if (!is_allowed(kernel, bytes)) return cudaErrorInvalidConfiguration;
  const size_t by_registers = kRegisters / (threads * emulator::settings.registers);
  const size_t by_memory = (emulator::settings.shared_memory_limit + kReserved) / (bytes + kReserved);
  *blocks = static_cast<int>(by_registers < by_memory ? by_registers : by_memory);
  return cudaSuccess;
}

template <typename Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Arguments),
                               const Arguments& arguments) {
  if (!is_allowed(reinterpret_cast<const void*>(kernel), config->dynamicSmemBytes))
    return cudaErrorInvalidConfiguration;
  blockDim = config->blockDim;
  const auto enter_block = [](unsigned block) { blockIdx.x = block; };
  const auto enter_thread = [](unsigned thread) { threadIdx.x = thread; };
  const bool finished = emulator::run(config->gridDim.x, config->blockDim.x, config->dynamicSmemBytes, enter_block,
                                      enter_thread, [=] { kernel(arguments); });
  return finished ? cudaSuccess : cudaErrorLaunchFailure;
}
