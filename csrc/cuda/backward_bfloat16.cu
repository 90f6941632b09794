#include "backward_keys.cuh"
#include "backward_pass.cuh"
#include "backward_queries.cuh"
#include "backward_table.cuh"

namespace vil_mm {
namespace cuda {

template size_t backward_workspace<__nv_bfloat16>(const Problem&, bool);
template cudaError_t backward<__nv_bfloat16>(const Backward<__nv_bfloat16>&, float*, cudaStream_t);

}  // namespace cuda
}  // namespace vil_mm
