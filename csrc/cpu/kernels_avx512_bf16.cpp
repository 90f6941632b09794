// The CPU kernels for processors with AVX-512 (F, BW, DQ, VL, BF16), in bfloat16.
#if defined(__x86_64__)
#include <immintrin.h>

#include <new>

#include "kernels.h"

// Inline functions of the headers above are compiled for any processor; everything below may use the instruction set.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512bf16,avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,f16c"))), \
                             apply_to = function)
#else
#pragma GCC target("avx512bf16,avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,f16c")
#endif

#define VIL_MM_ISA avx512_bf16
#define VIL_MM_VECTOR_BYTES 64
#define VIL_MM_MULTIPLIES_BFLOAT16 1
#include "attention.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
