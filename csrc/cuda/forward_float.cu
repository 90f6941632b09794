#include "forward.cuh"

namespace vil_mm {
namespace cuda {

template cudaError_t forward<float>(const Forward<float>&, float*, cudaStream_t);

}  // namespace cuda
}  // namespace vil_mm
