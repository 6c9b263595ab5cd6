// Whether this process may use the tiles of AMX: the processor has to have them, and the system to save them and to permit
// it, which it is asked for once. The system then makes room for 8 kB more in the signal frames of a thread that has tiles in
// use. Whether they do what they should is another question: tiles_agree in amx.h.
#pragma once

#include <cstdint>

namespace wavenet::cpu {

// What processor and system say.
struct AmxSupport {
  uint32_t features;          // of leaf 7 of CPUID, in EDX
  uint64_t saved;             // XCR0: registers that the system saves
  bool (*ask_permission)();
};

inline bool may_use_amx(const AmxSupport& support) {
  constexpr uint32_t kBfloat16 = 1u << 22, kTiles = 1u << 24;
  constexpr uint64_t kConfiguration = 1u << 17, kData = 1u << 18;
  const auto has = [](uint64_t all, uint64_t wanted) { return (all & wanted) == wanted; };
  return has(support.features, kBfloat16 | kTiles) && has(support.saved, kConfiguration | kData) &&
         support.ask_permission();
}

// Of this process, asked for when it is first called.
bool may_use_amx();

}  // namespace wavenet::cpu
