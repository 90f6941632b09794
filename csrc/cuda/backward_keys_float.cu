#include "backward_keys.cuh"

namespace vil_mm {
namespace cuda {

template cudaError_t backward_keys<float, Arithmetic::kPlain>(const BackwardArguments<float>&, const GlobalParts&,
                                                              cudaStream_t);
template cudaError_t backward_keys<float, Arithmetic::kTensorCore>(const BackwardArguments<float>&, const GlobalParts&,
                                                                   cudaStream_t);

}  // namespace cuda
}  // namespace vil_mm
