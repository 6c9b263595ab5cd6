// Running one piece of work on several threads, each with scratch memory of its own.
//
// The threads are OpenMP's, and so torch's own; how they share loops and wait for one another is written here, on
// std::atomic, because ThreadSanitizer understands that. For it they are plain std::threads (it can't see into
// OpenMP's): WAVENET_STD_THREADS.
#pragma once

#include <atomic>
#include <thread>
#include <vector>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

#include "cpu/memory.h"

namespace wavenet::cpu {

// A fraction of a millisecond of spinning, then others may have the core.
template <class Condition>
void wait_until(const Condition& condition) {
  for (int spins = 0; !condition(); ++spins) {
    if (spins < 4000) {
#if defined(__x86_64__) || defined(_M_X64)
      _mm_pause();
#endif
    } else {
      std::this_thread::yield();
    }
  }
}

// What the threads of a team have in common: how much of each one's part of a loop is taken, and who is done.
class Crew {
 public:
  explicit Crew(int size) : parts_(size > 1 ? size : 0) {}  // alone it allocates nothing

  // The next of so many at the part's start that nobody has taken, or `count` or more.
  int64_t take(int part) { return parts_[part].taken.fetch_add(1, std::memory_order_relaxed); }

  // Waits for all `size` threads, after which nothing is taken.
  void wait(int size) {
    const int round = round_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
      arrived_.store(0, std::memory_order_relaxed);
      for (Part& part : parts_) part.taken.store(0, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
      return;
    }
    wait_until([&] { return round_.load(std::memory_order_acquire) != round; });
  }

 private:
  struct alignas(64) Part {
    std::atomic<int64_t> taken{0};
  };
  std::vector<Part> parts_;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<int> round_{0};
};

// The team as one of its threads sees it.
class Team {
 public:
  Team(Crew& crew, int index, int size) : crew_(crew), index_(index), size_(size) {}
  int size() const { return size_; }

  // Calls work(i) once for each i < count, and returns when all are done. Every thread of the team must come here. Each
  // takes what is next in its own part, always the same one, and then what others have left of theirs: what a thread
  // wrote in one loop is in its core's cache in the next, and a core may be far from another's.
  template <class Work>
  void share(int64_t count, const Work& work) {
    if (size_ == 1) {
      for (int64_t i = 0; i < count; ++i) work(i);
      return;
    }
    for (int other = 0; other < size_; ++other) {
      const int part = (index_ + other) % size_;
      const int64_t begin = count * part / size_, there = count * (part + 1) / size_ - begin;
      for (int64_t i; (i = crew_.take(part)) < there;) work(begin + i);
    }
    crew_.wait(size_);
  }

 private:
  Crew& crew_;
  int index_, size_;
};

// For threads that meet every fraction of a microsecond: each says in a cache line of its own how often it was here,
// and reads the others', which is all that goes between their caches.
class Meeting {
 public:
  explicit Meeting(int most) : here_(most > 1 ? most : 0) {}  // alone it allocates nothing

  // Thread `index` of `count` waits for the others, and what each of them has written before is there.
  void wait(int index, int count) {
    if (count == 1) return;
    const int64_t round = here_[index].round.load(std::memory_order_relaxed) + 1;
    here_[index].round.store(round, std::memory_order_release);
    for (int other = 0; other < count; ++other) {
      if (other == index) continue;
      wait_until([&] { return here_[other].round.load(std::memory_order_acquire) >= round; });
    }
  }

 private:
  struct alignas(64) Here {
    std::atomic<int64_t> round{0};
  };
  std::vector<Here> here_;
};

// True in a process that was forked after this was loaded. OpenMP's threads are its parent's, if that used any, for
// torch's operators or ours: the child would wait for them in vain, so it works alone.
bool in_forked_child();

// Calls work(team, scratch) on each of `threads` threads, with `scratch_bytes` of `scratch` for each.
template <class Work>
void run_on_threads(int threads, char* scratch, [[maybe_unused]] std::size_t scratch_bytes, const Work& work) {
  if (threads > 1 && in_forked_child()) threads = 1;
  Crew crew(threads);
  const auto run = [&](int index, int size) {
    Team team(crew, index, size);
    work(team, scratch + scratch_bytes * index);
  };
#if defined(WAVENET_STD_THREADS)
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) others.emplace_back([&, i] { run(i, threads); });
  run(0, threads);
  for (std::thread& other : others) other.join();
#elif defined(_OPENMP)
  if (threads == 1) return run(0, 1);
#pragma omp parallel num_threads(threads)
  run(omp_get_thread_num(), omp_get_num_threads());  // it may give fewer
#else
  run(0, 1);
#endif
}

// The same with memory of its own. Throws std::bad_alloc before any of them starts.
template <class Work>
void run_on_threads(int threads, std::size_t scratch_bytes, const Work& work) {
  scratch_bytes = aligned_size(scratch_bytes) + (scratch_bytes && threads > 1 ? kApart : 0);
  const Memory scratch = allocate(scratch_bytes * threads);
  run_on_threads(threads, scratch.get(), scratch_bytes, work);
}

}  // namespace wavenet::cpu
