#include "forward.cuh"

namespace vil_mm {
namespace cuda {

template cudaError_t forward<__half>(const Forward<__half>&, float*, cudaStream_t);

}  // namespace cuda
}  // namespace vil_mm
