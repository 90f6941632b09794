#include "backward_queries.cuh"

namespace vil_mm {
namespace cuda {

template cudaError_t backward_queries<float, Arithmetic::kPlain>(BackwardArguments<float>, cudaStream_t);
template cudaError_t backward_queries<float, Arithmetic::kTensorCore>(BackwardArguments<float>, cudaStream_t);

}  // namespace cuda
}  // namespace vil_mm
