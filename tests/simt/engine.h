// What the parts of the simulator know of each other; kernels see simt.h alone.
#pragma once

#include <vector>

#include "simt.h"

#pragma GCC visibility push(hidden)

namespace wavenet::cuda::simt {

class Fibre;

struct Copy {
  void* to;
  const void* from;  // null: zeros
  uint32_t group;
  bool done;
};

struct Thread {
  uint3 index;
  unsigned lane, warp;
  Fibre* fibre;

  std::vector<Copy> copies;  // not waited for yet
  uint32_t groups;           // committed so far

  // What the lane brings to an operation of its warp and takes from it. Results go to where the lane wants them as
  // soon as the operation is done: another lane may be at the next one before this lane runs again.
  struct {
    const uint32_t* a;
    uint32_t b[2];
    float* d;
    uint32_t row[4];
    uint32_t* fragment;
    uint32_t value, source;
  } exchange;
};

extern Thread* current;

// Waits until all lanes in the mask are at the operation of that name; the last one runs complete(lanes, mask).
void rendezvous(const char* name, uint32_t mask, void (*complete)(Thread* lanes, uint32_t mask));

// Ends the launch, from within a thread.
[[noreturn, gnu::format(printf, 2, 3)]] void fail(cudaError_t status, const char* format, ...);

uint32_t random();

// The block's shared memory.
struct Shared {
  char* data;
  size_t bytes;

  bool holds(const void* address, size_t size) const {
    const char* at = static_cast<const char*>(address);
    return at >= data && at + size <= data + bytes;
  }
};
extern Shared shared;

// Of the fake CUDA runtime.
size_t shared_limit();                      // bytes that a block may have, if its kernel asks for them
size_t shared_allowed(const void* kernel);  // as far as it did; of one that is loaded
// Onto the current device, unless it is there. While a stream is captured that can't be: false, and recorded.
bool load(const void* kernel);
void record(cudaError_t status, const char* message);  // for cudaGetLastError and cudaGetErrorString

}  // namespace wavenet::cuda::simt

#pragma GCC visibility pop
