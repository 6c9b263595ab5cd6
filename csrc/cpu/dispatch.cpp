#include "cpu/dispatch.h"

#include <stdexcept>

namespace wavenet::cpu {

namespace {

#if WAVENET_FORWARD_ONLY  // in floats only, as well
#define WAVENET_DOUBLES(isa) nullptr
#else
#define WAVENET_DOUBLES(isa) &kernels_##isa##_double
#endif

#if defined(WAVENET_HAVE_AVX512)
#if defined(WAVENET_HAVE_AVX512BF16)
const Kernels* bfloat16_of_avx512() {
  return __builtin_cpu_supports("avx512bf16") ? &kernels_avx512bf16_float : nullptr;
}
#else
const Kernels* bfloat16_of_avx512() { return nullptr; }
#endif
const Isa kAvx512{"avx512", &kernels_avx512_float, WAVENET_DOUBLES(avx512), bfloat16_of_avx512()};
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
#else
const Isa kPortable{"portable", &kernels_portable_float, WAVENET_DOUBLES(portable)};
#endif
#endif

struct Candidate {
  const Isa* isa;
  bool usable;
};

std::vector<Candidate> candidates() {
  std::vector<Candidate> all;
#if defined(WAVENET_HAVE_AVX512)
  all.push_back({&kAvx512, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                                    __builtin_cpu_supports("fma")});
#endif
#if defined(WAVENET_HAVE_AVX2)
  all.push_back({&kAvx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")});
#endif
#if defined(WAVENET_HAVE_NEON)
  all.push_back({&kNeon, true});
#endif
#if defined(WAVENET_HAVE_PORTABLE)
  all.push_back({&kPortable, true});
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
    if (c.usable) isas.push_back(c.isa);
  }
  return isas;
}

const Isa& find_isa(const std::string& name) {
  const std::vector<const Isa*> usable = usable_isas();
  if (name.empty()) return *usable.front();
  for (const Isa* isa : usable) {
    if (name == isa->name) return *isa;
  }
  for (const Isa* isa : built_isas()) {
    if (name == isa->name) {
      throw std::invalid_argument("instruction set '" + name + "' is not one this processor has; usable here: " +
                                  names(usable));
    }
  }
  throw std::invalid_argument("instruction set '" + name + "' is not known; usable here: " + names(usable));
}

}  // namespace wavenet::cpu
