// Runs blocks one after the other, and the threads of a block as fibres in an order drawn from a seed.
//
// A thread runs until it waits for others. Between two __syncthreads warps go in random order, and in some blocks one
// warp goes as far as it can before another moves at all, in others they take turns: so that a reader that should
// have waited comes before the writer, and a writer that should have waited before the reader. The same holds for
// lanes between two operations of their warp.
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <numeric>

#include "engine.h"
#include "fibre.h"

namespace wavenet::cuda {

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace simt {

Thread* current;
Shared shared;

namespace {

// An operation for which some lanes of a warp wait.
struct Operation {
  const char* name;
  uint32_t mask, arrived;
};

struct Warp {
  uint32_t lanes = 0;  // that the block has
  uint32_t ready = 0, exited = 0, at_barrier = 0;
  std::vector<Operation> operations;  // of disjoint sets of lanes: nearly always one
};

struct Call {
  void (*function)(const void*);
  const void* arguments;
};

std::vector<Thread> threads;
std::vector<Warp> warps;
std::vector<std::unique_ptr<Fibre>> fibres;  // of threads, kept from block to block
Fibre outside;              // who launches
Call call;
uint32_t ready_warps;
unsigned at_barrier, exited;
uint32_t restlessness;  // how often, out of 2^32, another warp's turn comes after an operation
uint64_t state;
cudaError_t failure;
char message[512];
int64_t chosen_seed = -1;

// Executes a launch somewhere else; returns null, or what went wrong.
using Elsewhere = const char* (*)(const void* kernel, const unsigned* grid, const unsigned* block,
                                  size_t shared_bytes, const void* parameters, size_t parameter_bytes);
Elsewhere elsewhere = nullptr;

uint64_t seed() {
  if (chosen_seed >= 0) return chosen_seed;
  const char* variable = std::getenv("WAVENET_SIMT_SEED");
  return variable ? std::strtoull(variable, nullptr, 10) : 0;
}

// One of the bits that are set.
unsigned pick(uint32_t mask) {
  const unsigned start = random() >> 27;
  const uint32_t rotated = mask >> start | mask << (-start & 31);
  return (start + __builtin_ctz(rotated)) & 31;
}

void switch_to(Thread& thread) {
  Fibre& from = *current->fibre;
  current = &thread;
  threadIdx = thread.index;
  from.switch_to(*thread.fibre);
}

void make_ready(unsigned warp, uint32_t lanes) {
  warps[warp].ready |= lanes;
  if (warps[warp].ready) ready_warps |= 1u << warp;
}

Thread& take_turn(unsigned warp) {
  Warp& w = warps[warp];
  const unsigned lane = pick(w.ready);
  w.ready &= ~(1u << lane);
  if (!w.ready) ready_warps &= ~(1u << warp);
  return threads[warp * 32 + lane];
}

// Lets another thread run, or this one if it is its turn again.
void yield(bool stay) {
  if (!ready_warps) fail(cudaErrorLaunchFailure, "deadlock: every thread waits for one that never comes");
  const bool same_warp = stay && ready_warps >> current->warp & 1;
  Thread& next = take_turn(same_warp ? current->warp : pick(ready_warps));
  if (&next != current) switch_to(next);
}

void open_barrier_if_complete() {
  if (!at_barrier || at_barrier + exited < threads.size()) return;
  at_barrier = 0;
  for (size_t i = 0; i < warps.size(); ++i) make_ready(i, std::exchange(warps[i].at_barrier, 0));
}

unsigned first(uint32_t mask) { return __builtin_ctz(mask); }

// A lane goes elsewhere: no other may be waiting for it.
void refuse_if_awaited(const char* where) {
  for (const Operation& operation : warps[current->warp].operations) {
    if (!(operation.mask >> current->lane & 1)) continue;
    fail(cudaErrorLaunchFailure, "the thread %s while lane %u of its warp waits for it at %s", where,
         first(operation.arrived), operation.name);
  }
}

void leave() {
  refuse_if_awaited("exits");
  if (!current->copies.empty()) fail(cudaErrorLaunchFailure, "the thread exits with copies that it never waited for");
  warps[current->warp].exited |= 1u << current->lane;
  if (++exited == threads.size()) return current->fibre->switch_to(outside);
  open_barrier_if_complete();
  yield(true);
}

void live() {
  for (;;) {
    call.function(call.arguments);
    leave();
  }
}

void prepare_threads(dim3 block) {
  const size_t count = size_t(block.x) * block.y * block.z;
  threads.resize(count);
  while (fibres.size() < count) fibres.push_back(std::make_unique<Fibre>(live));
  warps.assign((count + 31) / 32, Warp{});
  for (size_t i = 0; i < count; ++i) {
    Thread& thread = threads[i];
    thread.index = {unsigned(i % block.x), unsigned(i / block.x % block.y), unsigned(i / block.x / block.y)};
    thread.lane = i % 32, thread.warp = i / 32, thread.fibre = fibres[i].get();
    warps[thread.warp].lanes |= 1u << thread.lane;
  }
}

void run_block() {
  for (Thread& thread : threads) thread.copies.clear(), thread.groups = 0;
  ready_warps = at_barrier = exited = 0;
  for (size_t i = 0; i < warps.size(); ++i) {
    Warp& warp = warps[i];
    warp.exited = warp.at_barrier = 0;
    warp.operations.clear();
    make_ready(i, warp.lanes);
  }
  constexpr uint32_t kRestlessness[] = {0, 1u << 28, 1u << 31};
  restlessness = kRestlessness[random() % 3];
  Thread& start = take_turn(pick(ready_warps));
  current = &start;
  threadIdx = start.index;
  outside.switch_to(*start.fibre);
}

// Without AddressSanitizer, bytes on either side of shared memory that no kernel may write to.
#ifdef __SANITIZE_ADDRESS__
constexpr size_t kGuard = 0;
#else
constexpr size_t kGuard = 512;
#endif

class SharedMemory {
 public:
  explicit SharedMemory(size_t bytes) : bytes_(bytes) {
    if (posix_memalign(&memory_, 128, bytes + 2 * kGuard)) throw std::bad_alloc();
    shared = {static_cast<char*>(memory_) + kGuard, bytes};
  }
  ~SharedMemory() {
    free(memory_);
    shared = {};
  }
  void poison() { std::memset(memory_, 0xff, bytes_ + 2 * kGuard); }
  bool guarded() const {
    const auto intact = [](const char* from) {
      return std::all_of(from, from + kGuard, [](char c) { return c == char(0xff); });
    };
    return intact(shared.data - kGuard) && intact(shared.data + bytes_);
  }

 private:
  void* memory_;
  size_t bytes_;
};

// What a GPU of compute capability 9.0 would say to a launch.
bool refused(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes) {
  const auto refuse = [](cudaError_t status, const char* format, auto... values) {
    std::snprintf(message, sizeof message, format, values...);
    record(status, message);
    return true;
  };
  if (block.x == 0 || block.y == 0 || block.z == 0 || block.x > 1024 || block.y > 1024 || block.z > 64 ||
      uint64_t(block.x) * block.y * block.z > 1024) {
    return refuse(cudaErrorInvalidConfiguration,
                  "a block of (%u, %u, %u) threads; at most (1024, 1024, 64), 1024 in all", block.x, block.y, block.z);
  }
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535) {
    return refuse(cudaErrorInvalidConfiguration, "a grid of (%u, %u, %u) blocks; at most (2^31 - 1, 65535, 65535)",
                  grid.x, grid.y, grid.z);
  }
  if (!load(kernel)) return true;
  if (shared_bytes > shared_allowed(kernel)) {
    return refuse(cudaErrorInvalidValue,
                  "%zu bytes of shared memory; cudaFuncSetAttribute allows this kernel %zu, of at most %zu",
                  shared_bytes, shared_allowed(kernel), shared_limit());
  }
  return false;
}

}  // namespace

uint32_t random() {  // xorshift64*
  state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
  return static_cast<uint32_t>(state * 0x2545f4914f6cdd1dull >> 32);
}

unsigned lane() { return current->lane; }

void fail(cudaError_t status, const char* format, ...) {
  failure = status;
  const int length = std::snprintf(message, sizeof message, "block (%u, %u, %u), thread (%u, %u, %u): ", blockIdx.x,
                                   blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
  va_list values;
  va_start(values, format);
  std::vsnprintf(message + length, sizeof message - length, format, values);
  va_end(values);
  Fibre::abandon(outside);
}

void rendezvous(const char* name, uint32_t mask, void (*complete)(Thread* lanes, uint32_t mask)) {
  Warp& warp = warps[current->warp];
  const uint32_t self = 1u << current->lane;
  if (!(mask & self)) fail(cudaErrorLaunchFailure, "%s: mask %08x leaves this lane out", name, mask);
  if (const uint32_t missing = mask & ~warp.lanes) {
    fail(cudaErrorLaunchFailure, "%s: the block has no lane %u of this warp", name, first(missing));
  }
  if (const uint32_t gone = mask & warp.exited) {
    fail(cudaErrorLaunchFailure, "%s: lane %u of the warp has exited", name, first(gone));
  }
  if (const uint32_t elsewhere = mask & warp.at_barrier) {
    fail(cudaErrorLaunchFailure, "%s: lane %u of the warp waits at __syncthreads", name, first(elsewhere));
  }
  Operation* mine = nullptr;
  for (Operation& operation : warp.operations) {
    if (!(operation.mask & mask)) continue;
    if (operation.mask == mask && (operation.name == name || !std::strcmp(operation.name, name))) {
      mine = &operation;
    } else {
      fail(cudaErrorLaunchFailure, "%s of mask %08x: lane %u of the warp waits at %s of mask %08x", name, mask,
           first(operation.arrived), operation.name, operation.mask);
    }
  }
  if (!mine) mine = &warp.operations.emplace_back(Operation{name, mask, 0});
  mine->arrived |= self;
  if (mine->arrived != mask) return yield(true);
  std::swap(*mine, warp.operations.back());
  warp.operations.pop_back();
  complete(&threads[current->warp * 32], mask);
  make_ready(current->warp, mask);
  yield(random() >= restlessness);
}

void run(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes, void (*function)(const void*),
         const void* arguments, const std::string& parameters) {
  static std::mutex one_launch_at_a_time;
  const std::lock_guard<std::mutex> lock(one_launch_at_a_time);
  if (refused(kernel, grid, block, shared_bytes)) return;
  if (elsewhere) {
    const unsigned blocks[] = {grid.x, grid.y, grid.z}, block_threads[] = {block.x, block.y, block.z};
    const char* wrong = elsewhere(kernel, blocks, block_threads, shared_bytes, parameters.data(), parameters.size());
    if (wrong) record(cudaErrorLaunchFailure, wrong);
    return;
  }
  state = (seed() + 1) * 0x9e3779b97f4a7c15ull;
  for (int i = 0; i < 8; ++i) random();  // neighbouring seeds start alike
  gridDim = grid, blockDim = block;
  call = {function, arguments};
  failure = cudaSuccess;
  prepare_threads(block);
  SharedMemory memory(shared_bytes);
  // Blocks in some order, too: no kernel may count on theirs.
  const uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z, start = random() % blocks;
  uint64_t step = random() % blocks + 1;
  while (std::gcd(step, blocks) != 1) ++step;
  for (uint64_t i = 0; i < blocks && failure == cudaSuccess; ++i) {
    const uint64_t b = (start + i * step) % blocks;
    blockIdx = {unsigned(b % grid.x), unsigned(b / grid.x % grid.y), unsigned(b / grid.x / grid.y)};
    memory.poison();
    run_block();
    if (failure == cudaSuccess && !memory.guarded()) {
      failure = cudaErrorIllegalAddress;
      std::snprintf(message, sizeof message, "block (%u, %u, %u) wrote beyond its %zu bytes of shared memory",
                    blockIdx.x, blockIdx.y, blockIdx.z, shared_bytes);
    }
  }
  if (failure == cudaSuccess) return;
  fibres.clear();  // some are in the midst of the kernel
  record(failure, message);
}

}  // namespace simt

void __syncthreads() {
  using namespace simt;
  refuse_if_awaited("waits at __syncthreads");
  warps[current->warp].at_barrier |= 1u << current->lane;
  ++at_barrier;
  const bool last = at_barrier + exited == threads.size();
  open_barrier_if_complete();
  yield(!last);
}

char* shared_memory() { return simt::shared.data; }

}  // namespace wavenet::cuda

// From Python or C; a negative seed stands for that of the environment.
extern "C" [[gnu::visibility("default")]] void wavenet_simt_set_seed(int64_t seed) {
  wavenet::cuda::simt::chosen_seed = seed;
}

// From now on launches go there, and run here again after a call with null.
extern "C" [[gnu::visibility("default")]] void wavenet_simt_run_elsewhere(wavenet::cuda::simt::Elsewhere where) {
  wavenet::cuda::simt::elsewhere = where;
}
