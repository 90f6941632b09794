#include "backward_keys.cuh"
#include "backward_pass.cuh"
#include "backward_queries.cuh"
#include "backward_table.cuh"

namespace vil_mm {
namespace cuda {

template size_t backward_workspace<__half>(const Problem&, bool);
template cudaError_t backward<__half>(const Backward<__half>&, float*, cudaStream_t);

}  // namespace cuda
}  // namespace vil_mm
