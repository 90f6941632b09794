// The CPU kernels for processors with AVX2 and FMA.
#if defined(__x86_64__)
#include <immintrin.h>

#include <new>

#include "kernels.h"

// Inline functions of the headers above are compiled for any processor; everything below may use the instruction set.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#endif

#define VIL_MM_ISA avx2
#define VIL_MM_VECTOR_BYTES 32
#include "attention.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
