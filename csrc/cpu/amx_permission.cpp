#include "cpu/amx_permission.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace wavenet::cpu {

namespace {

// Linux since 5.16. One that is older doesn't know what it is asked; no other system is known to permit it.
bool ask_permission() {
#if defined(__linux__) && defined(__x86_64__)
  constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, of which state
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
#else
  return false;
#endif
}

AmxSupport support_here() {
  AmxSupport support{0, 0, ask_permission};
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d) || (c & 1u << 27) == 0) return support;  // the system says nothing (XGETBV)
  __asm__("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
  support.saved = uint64_t{d} << 32 | a;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) support.features = d;
#endif
  return support;
}

}  // namespace

bool may_use_amx() {
  static const bool may = may_use_amx(support_here());
  return may;
}

}  // namespace wavenet::cpu
