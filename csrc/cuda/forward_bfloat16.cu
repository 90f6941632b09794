#include "forward.cuh"

namespace vil_mm {
namespace cuda {

template cudaError_t forward<__nv_bfloat16>(const Forward<__nv_bfloat16>&, float*, cudaStream_t);

}  // namespace cuda
}  // namespace vil_mm
