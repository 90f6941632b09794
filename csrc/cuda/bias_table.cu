#include "bias_table.cuh"
#include "launch.cuh"
#include "sliding_window_cuda.h"

namespace vil_mm {
namespace cuda {
namespace {

struct PrepareArguments {
  const float* table;
  float* prepared;
  int64_t count;
  int window;
  float unit;
  bool exact;
};

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) prepare_kernel(const __grid_constant__ PrepareArguments arguments) {
  const int64_t place = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (place >= arguments.count) return;
  const int window = arguments.window, size = prepared_size(window), entries = num_entries(window);
  const int64_t head = place / size;
  const int entry = static_cast<int>(place - head * size);
  float value = 0;
  if (entry < entries) {
    if (arguments.table != nullptr) value = arguments.table[head * entries + entry] * arguments.unit;
    const Distance distance = bias_distance(entry, window);
    const bool seen = within_window(distance.rows, window) && within_window(distance.columns, window);
    if (arguments.exact && !seen) value = -INFINITY;
  }
  arguments.prepared[place] = value;
}

}  // namespace

cudaError_t prepare_table(const Problem& problem, const float* bias_table, float unit, float* workspace,
                          cudaStream_t stream, Table* table) {
  const int64_t count = prepared_workspace(problem, bias_table != nullptr);
  *table = {count == 0 ? nullptr : workspace, prepared_size(problem.window), false};
  const bool exact = problem.mask == Mask::kExact;
  const PrepareArguments arguments = {bias_table, workspace, count, problem.window, unit, exact};
  return launch(prepare_kernel, (count + kThreads - 1) / kThreads, kThreads, 0, stream, arguments);
}

size_t forward_workspace(const Problem& problem, bool has_bias_table) {
  return prepared_workspace(problem, has_bias_table);
}

}  // namespace cuda
}  // namespace vil_mm
