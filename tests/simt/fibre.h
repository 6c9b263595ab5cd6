// A function on a stack of its own, left and entered again by hand: a switch costs a few nanoseconds on x86-64, where
// it is a few lines of assembly, and two system calls elsewhere (ucontext). AddressSanitizer is kept informed.
#pragma once

#include <cstddef>

#ifndef __x86_64__
#include <ucontext.h>
#endif

#pragma GCC visibility push(hidden)

namespace wavenet::cuda::simt {

class Fibre {
 public:
  Fibre() = default;  // the stack that the program runs on already
  explicit Fibre(void (*function)());  // which must not return
  ~Fibre();
  Fibre(const Fibre&) = delete;
  Fibre& operator=(const Fibre&) = delete;

  void switch_to(Fibre& to);                   // from this one, which runs; returns when another switches back
  [[noreturn]] static void abandon(Fibre& to);  // leaves the one that runs for good

 private:
  static void begin();
  void jump(Fibre& to);
  void arrive();

  char* mapping_ = nullptr;
  void (*function_)() = nullptr;
#ifdef __x86_64__
  void* context_ = nullptr;
#else
  ucontext_t context_;
#endif
  // Of AddressSanitizer.
  const void* stack_ = nullptr;
  size_t stack_bytes_ = 0;
  void* fake_stack_ = nullptr;
};

}  // namespace wavenet::cuda::simt

#pragma GCC visibility pop
