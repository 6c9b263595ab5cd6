// Philox 4x32-10 (Salmon et al. 2011): four uniform numbers of a seed, a sample's number and a signal's, as in
// wavenet_kernels/sampling/philox.py.
#pragma once

#include <cstdint>

namespace wavenet::cpu {

inline void philox(uint64_t seed, uint32_t (&word)[4]) {
  uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * word[0], p1 = uint64_t{0xCD9E8D57} * word[2];
    const uint32_t next[4] = {static_cast<uint32_t>(p1 >> 32) ^ word[1] ^ key0, static_cast<uint32_t>(p1),
                              static_cast<uint32_t>(p0 >> 32) ^ word[3] ^ key1, static_cast<uint32_t>(p0)};
    for (int i = 0; i < 4; ++i) word[i] = next[i];
    key0 += 0x9E3779B9, key1 += 0xBB67AE85;
  }
}

inline void uniforms(uint64_t seed, uint64_t t, uint64_t signal, float (&to)[4]) {
  uint32_t word[4] = {static_cast<uint32_t>(t), static_cast<uint32_t>(t >> 32), static_cast<uint32_t>(signal), 0};
  philox(seed, word);
  for (int i = 0; i < 4; ++i) to[i] = static_cast<float>(((word[i] >> 8) + 0.5) * (1.0 / (1 << 24)));
}

}  // namespace wavenet::cpu
