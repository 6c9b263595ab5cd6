// Which instruction comes next: branches, convergence, barriers; warps of a block, blocks of a launch.
#include <algorithm>
#include <cstdarg>
#include <cstdio>

#include "machine.h"

namespace sass {

void fail(const char* format, ...) {
  char text[400];
  va_list values;
  va_start(values, format);
  std::vsnprintf(text, sizeof text, format, values);
  va_end(values);
  throw Error(text);
}

Warp::Warp(Block& block, uint32_t number, uint32_t lanes)
    : block(block), number(number), live(lanes == 32 ? kAll : (1u << lanes) - 1) {
  std::memset(r, 0xff, sizeof r);
  std::memset(ur, 0xff, sizeof ur);
  std::memset(r[RZ], 0, sizeof r[RZ]);
  ur[URZ] = 0;
  std::fill(p, p + PT, 0), std::fill(up, up + PT, 0);
  p[PT] = up[PT] = kAll;
}

uint32_t Warp::guarded(const Instruction& in, uint32_t at) const {
  const uint32_t holds = in.guard_uniform ? up[in.guard] : p[in.guard];
  return at & (in.guard_inverted ? ~holds : holds);
}

void Warp::require_whole(uint32_t mask) const {
  if (mask && mask != kAll) fail("lanes %08x of a warp at an instruction of the whole of it", mask);
}

void Warp::advance(uint32_t lanes) {
  for (int l = 0; l < 32; ++l) pc[l] += lanes >> l & 1;
}

void Warp::step() {
  // Lanes that are behind others go first, so that those which took different branches meet again.
  const uint32_t runnable = live & ~waiting;
  if (!runnable) fail("warp %u: all lanes wait for others of the warp", number);
  uint32_t least = kAll, at = 0;
  for (int l = 0; l < 32; ++l) least = std::min(least, runnable >> l & 1 ? pc[l] : kAll);
  for (int l = 0; l < 32; ++l) at |= uint32_t(pc[l] == least) << l;
  at &= runnable;
  place = least;
  if (place >= block.launch.instructions) fail("warp %u runs beyond the end of the kernel", number);
  const Instruction& in = block.launch.code[place];
  ++block.launch.executed[place];
  const uint32_t mask = active = guarded(in, at);
  record(in, mask);
  if (control(in, at, mask)) return;
  advance(at);
  if (!mask) return;
  if (!products.empty()) require_settled(in);
  if (move_and_compute(in, mask) || compute_floats(in, mask) || access_memory(in, mask) ||
      multiply_matrices(in, mask)) {
    return;
  }
  fail("nothing executes this operation");
}

// Lanes of the mask wait at a convergence barrier, others at the instruction go on.
void Warp::wait_at(int barrier_number, uint32_t at, uint32_t mask) {
  advance(at & ~mask);
  waiting |= mask;
  for (int l = 0; l < 32; ++l) {
    if (mask >> l & 1) waits_at[l] = barrier_number;
  }
  release();
}

// Lets lanes go on for which nobody is missing.
void Warp::release() {
  for (int b = 0; b <= kWarpSync; ++b) {
    uint32_t here = 0;
    for (int l = 0; l < 32; ++l) {
      if (waiting >> l & 1 && waits_at[l] == uint32_t(b)) here |= 1u << l;
    }
    const uint32_t wanted = live & (b == kWarpSync ? kAll : members[b]);
    if (!here || wanted & ~here) continue;
    advance(here);
    waiting &= ~here;
    if (b == kWarpSync) ++epoch;
  }
}

bool Warp::control(const Instruction& in, uint32_t at, uint32_t mask) {
  // Lanes of `jumping` go where `target` says, others at the instruction on.
  const auto jump = [&](uint32_t jumping, auto target) {
    advance(at & ~jumping);
    for (int l = 0; l < 32; ++l) {
      if (jumping >> l & 1) pc[l] = target(l);
    }
  };
  switch (in.operation) {
    case OP_BRA:
      jump(mask & predicate(in.Q), [&](int) { return in.target; });
      return true;
    case OP_CALL:  // where to return to is in registers already
      jump(mask, [&](int) { return in.target; });
      return true;
    case OP_BRX:  // an offset in bytes from the next instruction
      jump(mask, [&](int l) { return place + 1 + (int32_t(r[in.A.index][l]) + int32_t(in.B.value)) / 16; });
      return true;
    case OP_RET:  // an offset in bytes from the kernel's start
      jump(mask, [&](int l) { return r[in.A.index][l] / 16; });
      return true;
    case OP_EXIT:
      advance(at & ~mask);
      for (int l = 0; l < 32; ++l) {
        if (mask >> l & 1 && !copies[l].empty()) fail("lane %d exits with copies that nobody waited for", l);
      }
      if (mask && !products.empty()) fail("the warp exits with products that nobody waited for");
      live &= ~mask;
      release();
      return true;
    case OP_BSSY:
      if (mask) members[in.A.value] = mask;
      advance(at);
      return true;
    case OP_BREAK:
      members[in.A.value] &= ~mask;
      advance(at);
      release();
      return true;
    case OP_BSYNC:
      wait_at(int(in.A.value), at, mask);
      return true;
    case OP_WARPSYNC:
      if (in.A.kind != NONE && uint32_t(in.A.value) != kAll) fail("a __syncwarp of a part of the warp");
      wait_at(kWarpSync, at, mask);
      return true;
    case OP_NOP:  // what ptxas leaves of a __syncwarp where it knows that the warp's lanes are together
      advance(at);
      if (mask == live) ++epoch;
      return true;
    case OP_BAR:
      if (mask && mask != live) {
        fail("lanes %08x of a warp, which has %08x, come to a barrier", mask, live);
      }
      if (in.A.kind != IMMEDIATE || !in.has(M_SYNC)) fail("a barrier that isn't of the whole block");
      advance(at);
      if (!mask) return true;
      at_barrier = true, barrier = uint32_t(in.A.value);
      ++epoch;
      return true;
  }
  return false;
}

Block::Block(Launch& launch, uint32_t number)
    : launch(launch),
      number(number),
      index{number % launch.grid[0], number / launch.grid[0] % launch.grid[1],
            number / launch.grid[0] / launch.grid[1]},
      shared(launch.shared_bytes, 0xff),
      cells(launch.shared_bytes / 2 + 1) {
  const uint32_t threads = launch.threads[0] * launch.threads[1] * launch.threads[2];
  for (uint32_t first = 0; first < threads; first += 32) {
    warps.emplace_back(*this, first / 32, std::min(32u, threads - first));
  }
}

void Block::run() {
  for (;;) {
    bool finished = true;
    for (Warp& warp : warps) {
      try {
        while (!warp.finished() && !warp.at_barrier) warp.step();
      } catch (const Error& error) {
        fail("block (%u, %u, %u), warp %u, instruction %u: %s", index[0], index[1], index[2], warp.number, warp.place,
             error.what());
      }
      finished &= warp.finished();
    }
    if (finished) return;
    const Warp* first = nullptr;
    for (Warp& warp : warps) {
      if (warp.finished()) continue;
      if (!first) first = &warp;
      if (warp.barrier != first->barrier) {
        fail("block (%u, %u, %u), warp %u, instruction %u: waits at barrier %u while warp %u waits at barrier %u",
             index[0], index[1], index[2], warp.number, warp.place, warp.barrier, first->number, first->barrier);
      }
    }
    for (Warp& warp : warps) warp.at_barrier = false;
    ++epoch;
  }
}

void Launch::run() {
  if (trace) {
    Block block(*this, trace->block);
    trace->warps.resize(block.warps.size());
    block.run();
    return;
  }
  const uint64_t blocks = uint64_t(grid[0]) * grid[1] * grid[2];
  for (uint64_t number = 0; number < blocks; ++number) Block(*this, uint32_t(number)).run();
}

}  // namespace sass

static sass::Trace kept;

// Executes a launch, or if `traced` isn't negative that block of it, whose trace is kept until the next call. Returns
// null, or what went wrong; `executed` gets how often warps executed each instruction, `races` lines of "what", tabs
// and numbers.
extern "C" const char* sass_run(const sass::Instruction* code, uint32_t instructions, const uint32_t* grid,
                                const uint32_t* threads, uint32_t shared_bytes, uint32_t shared_base,
                                const uint8_t* const* banks, const uint32_t* bank_bytes, int64_t traced,
                                uint64_t* executed, const char** races) {
  static std::string error, lines;
  sass::Launch launch;
  launch.code = code, launch.instructions = instructions, launch.executed = executed;
  std::copy(grid, grid + 3, launch.grid), std::copy(threads, threads + 3, launch.threads);
  launch.shared_bytes = shared_bytes, launch.shared_base = shared_base;
  for (int i = 0; i < 8; ++i) {
    launch.constants[i].assign(banks[i], banks[i] + bank_bytes[i]);
    if (bank_bytes[i]) launch.constants[i].resize(bank_bytes[i] + 3);  // the last byte is read as part of a word
  }
  kept = {uint32_t(traced), {}};
  if (traced >= 0) launch.trace = &kept;
  error.clear(), lines.clear();
  try {
    launch.run();
  } catch (const sass::Error& found) {
    error = found.what();
  }
  for (const sass::Race& race : launch.races) {
    lines += race.what;
    for (uint32_t n : {race.place, race.other, race.block, race.warp, race.lane, race.other_block, race.other_warp,
                       race.other_lane}) {
      lines += "\t" + std::to_string(n);
    }
    lines += "\t" + std::to_string(race.address) + "\n";
  }
  *races = lines.c_str();
  return error.empty() ? nullptr : error.c_str();
}

// What that warp of the traced block did; returns how many steps.
extern "C" uint64_t sass_steps(uint32_t warp, const sass::Step** steps) {
  if (warp >= kept.warps.size()) return 0;
  *steps = kept.warps[warp].data();
  return kept.warps[warp].size();
}
