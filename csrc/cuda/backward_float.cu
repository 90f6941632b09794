#include "backward_pass.cuh"

namespace vil_mm {
namespace cuda {

template size_t backward_workspace<float>(const Problem&, bool);
template cudaError_t backward<float>(const Backward<float>&, float*, cudaStream_t);

}  // namespace cuda
}  // namespace vil_mm
