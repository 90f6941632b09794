#include "emulator.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace emulator {
namespace {

constexpr size_t kStackBytes = 256 * 1024;

#if defined(__x86_64__)

// Where to continue: the registers that a call preserves are on the stack.
using Context = void*;

extern "C" void emulator_switch(Context* from, Context to);
asm(R"(
.text
.type emulator_switch, @function
emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");

void switch_context(Context* from, Context* to) { emulator_switch(from, *to); }

void start_context(Context* context, char* stack, void (*entry)()) {
  uintptr_t top = reinterpret_cast<uintptr_t>(stack + kStackBytes) / 16 * 16;
  void** place = reinterpret_cast<void**>(top) - 2;  // as if entry had been called
  *place = reinterpret_cast<void*>(entry);
  *context = place - 6;
}

#else

using Context = ucontext_t;

void switch_context(Context* from, Context* to) { swapcontext(from, to); }

void start_context(Context* context, char* stack, void (*entry)()) {
  getcontext(context);
  context->uc_stack.ss_sp = stack;
  context->uc_stack.ss_size = kStackBytes;
  context->uc_link = nullptr;
  makecontext(context, entry, 0);
}

#endif

struct Copy {
  void* destination;
  const void* source;
  size_t bytes;
};

// Fibers wait until the meeting's generation changes.
struct Meeting {
  unsigned arrived = 0;
  uint64_t generation = 0;
};

struct Warp {
  Meeting meeting;
  Operation operation = nullptr;
  const void* deposits[kWarpSize];
  void* results[kWarpSize];
};

struct Fiber {
  Context context;
  std::unique_ptr<char[]> stack;
  unsigned thread = 0;
  bool done = false;
  const Meeting* waits_for = nullptr;
  uint64_t generation = 0;
  std::vector<Copy> open_group;
  std::deque<std::vector<Copy>> groups;

  bool can_run() const { return !done && (waits_for == nullptr || waits_for->generation != generation); }
};

std::vector<Fiber> fibers;
std::vector<Warp> warps;
std::vector<unsigned> order;
std::unique_ptr<char[]> shared;
Context scheduler;
Fiber* running;
Meeting block_meeting;
unsigned alive;
const std::function<void()>* kernel_to_run;
const char* failure;

void leave() { switch_context(&running->context, &scheduler); }

void fail(const char* reason) {
  failure = reason;
  leave();
}

void wait_at(Meeting& meeting) {
  running->waits_for = &meeting;
  running->generation = meeting.generation;
  leave();
}

void open_block_meeting_if_complete() {
  if (alive == 0 || block_meeting.arrived < alive) return;
  block_meeting.arrived = 0;
  ++block_meeting.generation;
}

void run_fiber() {
  (*kernel_to_run)();
  running->done = true;
  --alive;
  open_block_meeting_if_complete();
  leave();
}

// Returns false if it fails.
bool run_block(unsigned threads, const std::function<void(unsigned)>& enter_thread) {
  block_meeting = {};
  warps.assign((threads + kWarpSize - 1) / kWarpSize, {});
  alive = threads;
  failure = nullptr;
  for (unsigned i = 0; i < threads; ++i) {
    Fiber& fiber = fibers[i];
    fiber.thread = i;
    fiber.done = false;
    fiber.waits_for = nullptr;
    fiber.open_group.clear();
    fiber.groups.clear();
    start_context(&fiber.context, fiber.stack.get(), run_fiber);
  }
  while (alive > 0) {
    bool progress = false;
    for (const unsigned i : order) {
      if (!fibers[i].can_run()) continue;
      progress = true;
      running = &fibers[i];
      enter_thread(i);
      switch_context(&scheduler, &running->context);
      if (failure != nullptr) return false;
    }
    if (!progress) {
      failure = "threads wait for others that never arrive";
      return false;
    }
  }
  return true;
}

}  // namespace

bool run(unsigned blocks, unsigned threads, size_t shared_bytes, const std::function<void(unsigned)>& enter_block,
         const std::function<void(unsigned)>& enter_thread, const std::function<void()>& kernel) {
  std::vector<unsigned> block_order(blocks);
  std::iota(block_order.begin(), block_order.end(), 0u);
  order.resize(threads);
  std::iota(order.begin(), order.end(), 0u);
  if (settings.seed != 0) {
    std::mt19937 random(settings.seed);
    std::shuffle(block_order.begin(), block_order.end(), random);
    std::shuffle(order.begin(), order.end(), random);
  }
  if (fibers.size() < threads) fibers.resize(threads);
  for (Fiber& fiber : fibers) {
    if (!fiber.stack) fiber.stack.reset(new char[kStackBytes]);
  }
  shared.reset(new char[shared_bytes + 16]);
  kernel_to_run = &kernel;
  for (const unsigned block : block_order) {
    std::memset(shared.get(), 0xff, shared_bytes);
    enter_block(block);
    if (!run_block(threads, enter_thread)) {
      std::fprintf(stderr, "emulator: block %u, thread %u: %s\n", block, running->thread, failure);
      return false;
    }
  }
  return true;
}

char* shared_memory() { return shared.get(); }

void block_barrier() {
  ++block_meeting.arrived;
  if (block_meeting.arrived == alive) {
    open_block_meeting_if_complete();
  } else {
    wait_at(block_meeting);
  }
}

void copy_later(void* destination, const void* source, size_t bytes) {
  std::memset(destination, 0xff, bytes);
  running->open_group.push_back({destination, source, bytes});
}

void commit_copies() {
  running->groups.push_back(std::move(running->open_group));
  running->open_group.clear();
}

void wait_for_copies(int pending) {
  static const char kZeros[16] = {};
  while (static_cast<int>(running->groups.size()) > pending) {
    for (const Copy& copy : running->groups.front()) {
      std::memcpy(copy.destination, copy.source == nullptr ? kZeros : copy.source, copy.bytes);
    }
    running->groups.pop_front();
  }
}

void check_aligned(const void* place, size_t bytes) {
  if (reinterpret_cast<uintptr_t>(place) % bytes != 0) fail("an access that is not aligned");
}

void warp_collective(Operation operation, const void* deposit, void* result) {
  Warp& warp = warps[running->thread / kWarpSize];
  const unsigned lane = running->thread % kWarpSize;
  if (warp.meeting.arrived == 0) warp.operation = operation;
  if (warp.operation != operation) fail("the lanes of a warp do different things");
  warp.deposits[lane] = deposit;
  warp.results[lane] = result;
  if (++warp.meeting.arrived < kWarpSize) {
    wait_at(warp.meeting);
    return;
  }
  operation(warp.deposits, warp.results);
  warp.meeting.arrived = 0;
  ++warp.meeting.generation;
}

}  // namespace emulator
