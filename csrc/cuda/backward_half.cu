#include "backward_pass.cuh"

namespace vil_mm {
namespace cuda {

template size_t backward_workspace<__half>(const Problem&, bool);
template cudaError_t backward<__half>(const Backward<__half>&, float*, cudaStream_t);

}  // namespace cuda
}  // namespace vil_mm
