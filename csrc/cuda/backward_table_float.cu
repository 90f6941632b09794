#include "backward_table.cuh"

namespace vil_mm {
namespace cuda {

template cudaError_t backward_table<float, Arithmetic::kPlain>(const BackwardArguments<float>&, const TableParts&,
                                                               cudaStream_t);
template cudaError_t backward_table<float, Arithmetic::kTensorCore>(const BackwardArguments<float>&, const TableParts&,
                                                                    cudaStream_t);

}  // namespace cuda
}  // namespace vil_mm
