// What each warp of a block did, for who replays it with the hardware's times: benchmarks/model.
#pragma once

#include <cstdint>
#include <vector>

namespace sass {

// One instruction of a warp, executed or not: its guard may hold nowhere.
struct Step {
  uint32_t place;       // the instruction's number
  uint32_t sector;      // of global memory: the first lane's address / 32, its low bits
  uint16_t lanes;       // that executed it
  uint16_t sectors;     // of 32 bytes, of global memory
  uint16_t lines;       // of 128 bytes, that these are in
  uint16_t wavefronts;  // of shared memory: the most words of one bank, for lanes that are served together
  uint16_t jumps;       // whether some lane doesn't go on to the next instruction
  uint16_t unused;
};

static_assert(sizeof(Step) == 20, "as in executor.py");

struct Trace {
  uint32_t block;
  std::vector<std::vector<Step>> warps;
};

}  // namespace sass
