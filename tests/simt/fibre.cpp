#include "fibre.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifdef __x86_64__
// Leaves on the stack what a function must preserve, and the stack's address in *from; goes on where `to` stopped. It
// ends in a jump, not in a return, which the processor would predict to go back to the caller.
extern "C" void wavenet_simt_switch(void** from, void* to);
asm(R"(
.text
.p2align 4
.globl wavenet_simt_switch
.hidden wavenet_simt_switch
.type wavenet_simt_switch, @function
wavenet_simt_switch:
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
  popq %rcx
  jmpq *%rcx
.size wavenet_simt_switch, .-wavenet_simt_switch
)");
#endif

namespace wavenet::cuda::simt {

namespace {

constexpr size_t kStack = 256 << 10;  // what is never touched takes no memory

Fibre *running, *previous;

size_t page() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

}  // namespace

Fibre::Fibre(void (*function)()) : function_(function) {
  void* memory = mmap(nullptr, page() + kStack, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  mapping_ = static_cast<char*>(memory);
  mprotect(mapping_, page(), PROT_NONE);  // a stack that overflows ends the program, and nothing else
  stack_ = mapping_ + page();
  stack_bytes_ = kStack;
#ifdef __x86_64__
  // As if switched away from: six registers, where to go on, and the return address that a function expects.
  auto* top = reinterpret_cast<uintptr_t*>(mapping_ + page() + kStack) - 8;
  top[6] = reinterpret_cast<uintptr_t>(&Fibre::begin);
  context_ = top;
#else
  getcontext(&context_);
  context_.uc_stack.ss_sp = mapping_ + page();
  context_.uc_stack.ss_size = kStack;
  makecontext(&context_, &Fibre::begin, 0);
#endif
}

Fibre::~Fibre() {
  if (!mapping_) return;
#ifdef __SANITIZE_ADDRESS__
  ASAN_UNPOISON_MEMORY_REGION(stack_, stack_bytes_);  // frames that never returned
#endif
  munmap(mapping_, page() + kStack);
}

void Fibre::begin() {
  running->arrive();
  running->function_();
}

void Fibre::jump(Fibre& to) {
  previous = this, running = &to;
#ifdef __x86_64__
  wavenet_simt_switch(&context_, to.context_);
#else
  swapcontext(&context_, &to.context_);
#endif
}

void Fibre::arrive() {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(fake_stack_, &previous->stack_, &previous->stack_bytes_);
#endif
}

void Fibre::switch_to(Fibre& to) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&fake_stack_, to.stack_, to.stack_bytes_);
#endif
  jump(to);
  arrive();
}

void Fibre::abandon(Fibre& to) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(nullptr, to.stack_, to.stack_bytes_);
#endif
  running->jump(to);
  __builtin_unreachable();
}

}  // namespace wavenet::cuda::simt
