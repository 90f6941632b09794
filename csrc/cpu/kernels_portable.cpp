// The CPU kernels for any processor.
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <new>

#define VIL_MM_ISA portable
#define VIL_MM_VECTOR_BYTES 16
#include "attention.h"
