// Running one piece of work on several threads, each with scratch memory of its own.
#pragma once

#include "cpu/memory.h"

namespace wavenet::cpu {

// Calls work(scratch) on each of `threads` threads of a parallel region, whose worksharing loops they share. One
// thread needs no region (which would not survive a fork): the loops are plain loops then. Throws
// std::bad_alloc before any of them starts.
template <class Work>
void run_on_threads(int threads, std::size_t scratch_bytes, const Work& work) {
  scratch_bytes = aligned_size(scratch_bytes);
  const Memory scratch = allocate(scratch_bytes * threads);
  if (threads == 1) return work(scratch.get());
  int next = 0;
#pragma omp parallel num_threads(threads)
  {
    int mine;
#pragma omp atomic capture
    mine = next++;
    work(scratch.get() + scratch_bytes * mine);
  }
}

}  // namespace wavenet::cpu
