// What the kernels need from the hardware, one function each. The tests replace the functions to run the kernels on a
// CPU.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace vil_mm {
namespace cuda {

constexpr int kWarpSize = 32;

// Tokens are copied in pieces of 16 bytes where they lie on such boundaries.
template <typename T>
constexpr int kElementsOf16Bytes = 16 / sizeof(T);

}  // namespace cuda
}  // namespace vil_mm

#if defined(VIL_MM_EMULATE)
#include <emulated_intrinsics.h>
#else

#define VIL_MM_DEVICE __device__ __forceinline__

namespace vil_mm {
namespace cuda {

// Whether the code being compiled is for a device with the tensor-core instructions below.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr bool kHasTensorCores = false;
#else
constexpr bool kHasTensorCores = true;
#endif

VIL_MM_DEVICE char* dynamic_shared() {
  extern __shared__ __align__(16) char memory[];
  return memory;
}

VIL_MM_DEVICE uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

VIL_MM_DEVICE void block_barrier() { __syncthreads(); }
VIL_MM_DEVICE void warp_barrier() { __syncwarp(); }

VIL_MM_DEVICE bool any_of_warp(bool condition) { return __any_sync(0xffffffffu, condition) != 0; }
VIL_MM_DEVICE float shuffle(float value, int lane) { return __shfl_sync(0xffffffffu, value, lane); }
VIL_MM_DEVICE float shuffle_xor(float value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }

// 2 to the power of value: off by at most 2 units in the last place; denormal results become 0.
VIL_MM_DEVICE float exp2_fast(float value) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(value));
  return result;
}

// e to the power of value, to a unit in the last place.
VIL_MM_DEVICE float exp_exact(float value) { return expf(value); }

VIL_MM_DEVICE float to_float(float value) { return value; }
VIL_MM_DEVICE float to_float(__half value) { return __half2float(value); }
VIL_MM_DEVICE float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }

VIL_MM_DEVICE void store(float* place, float value) { *place = value; }
VIL_MM_DEVICE void store(__half* place, float value) { *place = __float2half_rn(value); }
VIL_MM_DEVICE void store(__nv_bfloat16* place, float value) { *place = __float2bfloat16_rn(value); }

// Two values rounded to T, the first in the low half.
template <typename T>
VIL_MM_DEVICE uint32_t pack(float first, float second);

template <>
VIL_MM_DEVICE uint32_t pack<__half>(float first, float second) {
  const __half2 pair = __floats2half2_rn(first, second);
  return reinterpret_cast<const uint32_t&>(pair);
}

template <>
VIL_MM_DEVICE uint32_t pack<__nv_bfloat16>(float first, float second) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
  return reinterpret_cast<const uint32_t&>(pair);
}

// Four consecutive values, aligned to their total size.
VIL_MM_DEVICE void load4(float (&values)[4], const float* place) {
  const float4 vector = *reinterpret_cast<const float4*>(place);
  values[0] = vector.x, values[1] = vector.y, values[2] = vector.z, values[3] = vector.w;
}

template <typename T>
VIL_MM_DEVICE void load4(float (&values)[4], const T* place) {
  const uint2 vector = *reinterpret_cast<const uint2*>(place);
  const T* elements = reinterpret_cast<const T*>(&vector);
#pragma unroll
  for (int i = 0; i < 4; ++i) values[i] = to_float(elements[i]);
}

// Starts to copy 16 bytes from global to shared memory, or to write zeros; done once wait_for_copies has returned.
VIL_MM_DEVICE void copy_16_bytes(void* shared, const void* global, bool present) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  const int bytes = present ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(bytes)
               : "memory");
#else
  *static_cast<uint4*>(shared) = present ? *static_cast<const uint4*>(global) : uint4{0, 0, 0, 0};
#endif
}

// Ends a group of copies. wait_for_copies waits for all groups except the kPending latest.
VIL_MM_DEVICE void commit_copies() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

template <int kPending>
VIL_MM_DEVICE void wait_for_copies() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

// The functions from here on exist only on devices with tensor cores, see kHasTensorCores.

// Four 8x8 matrices of 16-bit values; lane 8 i + r points to row r of matrix i. From each matrix, each lane gets the
// value at (lane / 4, 2 (lane % 4)) and the next one in the row; the second function does so from the transposed
// matrices.
VIL_MM_DEVICE void load_matrices(uint32_t (&registers)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(shared_address(row))
               : "memory");
}

VIL_MM_DEVICE void load_matrices_transposed(uint32_t (&registers)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(shared_address(row))
               : "memory");
}

#define VIL_MM_MMA_M16N8K16(type)                                                     \
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type                 \
               ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
               : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])           \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1))

// sums (16 x 8) += a (16 x 16) b (16 x 8).
template <typename T>
VIL_MM_DEVICE void mma_m16n8k16(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);

template <>
VIL_MM_DEVICE void mma_m16n8k16<__half>(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  VIL_MM_MMA_M16N8K16("f16");
}

template <>
VIL_MM_DEVICE void mma_m16n8k16<__nv_bfloat16>(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  VIL_MM_MMA_M16N8K16("bf16");
}

#undef VIL_MM_MMA_M16N8K16

VIL_MM_DEVICE uint32_t to_tf32(float value) {
  uint32_t result;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(result) : "f"(value));
  return result;
}

// sums (16 x 8) += a (16 x 8) b (8 x 8).
VIL_MM_DEVICE void mma_m16n8k8_tf32(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace cuda
}  // namespace vil_mm

#endif
