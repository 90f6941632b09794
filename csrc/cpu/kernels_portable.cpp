// The CPU kernels for any processor.
#include <c10/core/impl/alloc_cpu.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#define VIL_MM_ISA portable
#define VIL_MM_VECTOR_BYTES 16
#include "attention.h"
