#include "cpu/dispatch.h"

#include <stdexcept>

#include "cpu/amx_permission.h"

namespace wavenet::cpu {

namespace {

#if WAVENET_FORWARD_ONLY  // in floats only, as well
#define WAVENET_DOUBLES(isa) nullptr
#else
#define WAVENET_DOUBLES(isa) &kernels_##isa##_double
#endif

#if defined(WAVENET_HAVE_AVX512)
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
}
#if defined(WAVENET_HAVE_AVX512BF16)
const Kernels* bfloat16_of_avx512() {
  return __builtin_cpu_supports("avx512bf16") ? &kernels_avx512bf16_float : nullptr;
}
#else
const Kernels* bfloat16_of_avx512() { return nullptr; }
#endif
const Isa kAvx512{"avx512", &kernels_avx512_float, WAVENET_DOUBLES(avx512), bfloat16_of_avx512()};
#if defined(WAVENET_HAVE_AMX)
const Isa kAmx{"amx", &kernels_avx512_float, WAVENET_DOUBLES(avx512), &kernels_amx_float};
#endif
#endif
#if defined(WAVENET_HAVE_AVX2)
const Isa kAvx2{"avx2", &kernels_avx2_float, WAVENET_DOUBLES(avx2)};
#endif
#if defined(WAVENET_HAVE_NEON)
const Isa kNeon{"neon", &kernels_neon_float, WAVENET_DOUBLES(neon)};
#endif
#if defined(WAVENET_HAVE_PORTABLE)
#if defined(WAVENET_HAVE_PORTABLEBF16)
const Isa kPortable{"portable", &kernels_portable_float, WAVENET_DOUBLES(portable), &kernels_portablebf16_float};
#if defined(WAVENET_HAVE_PORTABLEAMX)
const Isa kAmx{"amx", &kernels_portable_float, WAVENET_DOUBLES(portable), &kernels_portableamx_float};
#endif
#else
const Isa kPortable{"portable", &kernels_portable_float, WAVENET_DOUBLES(portable)};
#endif
#endif

// Asked no sooner than it matters: one of them asks the system for a permission.
struct Candidate {
  const Isa* isa;
  bool (*usable)();
};

std::vector<Candidate> candidates() {
  std::vector<Candidate> all;
#if defined(WAVENET_HAVE_AVX512)
#if defined(WAVENET_HAVE_AMX)
  all.push_back({&kAmx, [] {
                   static const bool usable = has_avx512() && __builtin_cpu_supports("avx512bf16") && may_use_amx() &&
                                              tiles_of_amx_agree();
                   return usable;
                 }});
#endif
  all.push_back({&kAvx512, has_avx512});
#endif
#if defined(WAVENET_HAVE_AVX2)
  all.push_back({&kAvx2, [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }});
#endif
#if defined(WAVENET_HAVE_NEON)
  all.push_back({&kNeon, [] { return true; }});
#endif
#if defined(WAVENET_HAVE_PORTABLEAMX)
  all.push_back({&kAmx, tiles_of_portableamx_agree});
#endif
#if defined(WAVENET_HAVE_PORTABLE)
  all.push_back({&kPortable, [] { return true; }});
#endif
  return all;
}

std::string names(const std::vector<const Isa*>& isas) {
  std::string text;
  for (const Isa* isa : isas) text += (text.empty() ? "" : ", ") + std::string(isa->name);
  return text;
}

}  // namespace

std::vector<const Isa*> built_isas() {
  std::vector<const Isa*> isas;
  for (const Candidate& c : candidates()) isas.push_back(c.isa);
  return isas;
}

std::vector<const Isa*> usable_isas() {
  std::vector<const Isa*> isas;
  for (const Candidate& c : candidates()) {
    if (c.usable()) isas.push_back(c.isa);
  }
  return isas;
}

const Isa& find_isa(const std::string& name) {
  bool known = false;
  for (const Candidate& c : candidates()) {
    if (!name.empty() && name != c.isa->name) continue;
    known = true;
    if (c.usable()) return *c.isa;
  }
  const char* const problem = known ? "' is not one this processor has, or its system permits; usable here: "
                                    : "' is not known; usable here: ";
  throw std::invalid_argument("instruction set '" + name + problem + names(usable_isas()));
}

}  // namespace wavenet::cpu
