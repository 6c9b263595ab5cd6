#include "trace.h"

#include <algorithm>

#include "machine.h"

namespace sass {

namespace {

constexpr int kBanks = 32;  // of four bytes each

// How often the banks must be asked for what lanes [first, last) of the mask access.
uint32_t most_of_a_bank(const Lanes64& at, uint32_t mask, int first, int last, uint32_t bytes) {
  std::vector<uint64_t> banks[kBanks];
  size_t most = 0;
  for (int l = first; l < last; ++l) {
    if (!(mask >> l & 1)) continue;
    for (uint64_t word = at[l] / 4; word <= (at[l] + bytes - 1) / 4; ++word) {
      std::vector<uint64_t>& bank = banks[word % kBanks];
      if (std::find(bank.begin(), bank.end(), word) == bank.end()) bank.push_back(word);
      most = std::max(most, bank.size());
    }
  }
  return uint32_t(most);
}

// Lanes go to shared memory together as far as they move 128 bytes.
uint16_t wavefronts(const Lanes64& at, uint32_t mask, uint32_t bytes, int lanes = 32) {
  const int together = bytes <= 4 ? 32 : bytes == 8 ? 16 : 8;
  uint32_t total = 0;
  for (int l = 0; l < lanes; l += together) total += most_of_a_bank(at, mask, l, l + together, bytes);
  return uint16_t(total);
}

void add_global(Step& step, const Lanes64& at, uint32_t mask, uint32_t bytes) {
  if (!mask) return;
  std::vector<uint64_t> sectors, lines;
  for (int l = 0; l < 32; ++l) {
    if (!(mask >> l & 1)) continue;
    for (uint64_t s = at[l] / 32; s <= (at[l] + bytes - 1) / 32; ++s) sectors.push_back(s), lines.push_back(s / 4);
  }
  const auto distinct = [](std::vector<uint64_t>& of) {
    std::sort(of.begin(), of.end());
    return uint16_t(std::unique(of.begin(), of.end()) - of.begin());
  };
  step.sectors = distinct(sectors), step.lines = distinct(lines);
  step.sector = uint32_t(at[__builtin_ctz(mask)] / 32);
}

}  // namespace

void Warp::record(const Instruction& in, uint32_t mask) {
  if (!block.launch.trace || block.number != block.launch.trace->block) return;
  Step step{};
  step.place = place, step.lanes = uint16_t(__builtin_popcount(mask));
  switch (in.operation) {
    case OP_BRA:
      step.jumps = (mask & predicate(in.Q)) != 0;
      break;
    case OP_BRX:
    case OP_CALL:
    case OP_RET:
      step.jumps = mask != 0;
      break;
    case OP_LDG:
    case OP_STG:
      add_global(step, addresses(in.A), mask, in.size);
      break;
    case OP_LDL:
    case OP_STL:  // a thread's words lie beside other threads'
      step.sectors = uint16_t((step.lanes * in.size + 31) / 32), step.lines = uint16_t((step.sectors + 3) / 4);
      break;
    case OP_LDS:
    case OP_STS:
      step.wavefronts = wavefronts(addresses(in.A), mask, in.size);
      break;
    case OP_LDSM:
    case OP_STSM:
      if (mask) step.wavefronts = wavefronts(addresses(in.A), mask, 16, in.has(M_4) ? 32 : in.has(M_2) ? 16 : 8);
      break;
    case OP_LDGSTS:
      step.wavefronts = wavefronts(addresses(in.A), mask, in.size);
      add_global(step, addresses(in.B), mask & predicate(in.Q), in.size);
      break;
  }
  block.launch.trace->warps[number].push_back(step);
}

}  // namespace sass
