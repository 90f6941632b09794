// Runs the threads of a block as fibers on one CPU thread. A fiber runs until it waits for others: at a barrier of the
// block, or where its warp does something together. Between such points fibers run one after another, in an order that
// can be changed: a result that depends on it is a race.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace emulator {

constexpr int kWarpSize = 32;

struct Settings {
  size_t shared_memory_limit;  // of a block; devices are numbered by it
  unsigned seed;               // of the order of blocks and fibers; 0: ascending
  int registers;               // of a thread
};
inline Settings settings;

// Runs a grid, block after block. Returns false if threads wait forever, or do not do the same thing where they must.
bool run(unsigned blocks, unsigned threads, size_t shared_bytes, const std::function<void(unsigned)>& enter_block,
         const std::function<void(unsigned)>& enter_thread, const std::function<void()>& kernel);

// The running block's shared memory, full of NaN at first.
char* shared_memory();

// Waits for all threads of the block that have not ended.
void block_barrier();

// Copies that a fiber asks for, in groups. They are done when the fiber waits for them.
void copy_later(void* destination, const void* source, size_t bytes);
void commit_copies();
void wait_for_copies(int pending);

// The hardware stops at an access that is not aligned to its size.
void check_aligned(const void* place, size_t bytes);

// Waits for all lanes of the warp. The last one to arrive calls the operation, which must be the same for all, with
// what each lane brought and where each expects its result.
using Operation = void (*)(const void* const (&deposits)[kWarpSize], void* const (&results)[kWarpSize]);
void warp_collective(Operation operation, const void* deposit, void* result);

// The same with types.
template <typename In, typename Out, void (*kBody)(const In (&)[kWarpSize], Out (&)[kWarpSize])>
Out collective(const In& in) {
  Out out{};
  const Operation operation = [](const void* const(&deposits)[kWarpSize], void* const(&results)[kWarpSize]) {
    In all_in[kWarpSize];
    Out all_out[kWarpSize];
    for (int lane = 0; lane < kWarpSize; ++lane) all_in[lane] = *static_cast<const In*>(deposits[lane]);
    kBody(all_in, all_out);
    for (int lane = 0; lane < kWarpSize; ++lane) *static_cast<Out*>(results[lane]) = all_out[lane];
  };
  warp_collective(operation, &in, &out);
  return out;
}

}  // namespace emulator
