// Memory: global, shared, local; matrices of 8 x 8 to and from shared memory; copies from global to shared memory.
#include <algorithm>

#include "machine.h"

namespace sass {

namespace {

constexpr uint32_t kLocalBytes = 16384;  // of a thread's own memory, for what is spilled

}  // namespace

Access Warp::access(int lane) const {
  return {block.number + 1, number, uint32_t(lane), block.epoch, epoch, place};
}

Lanes64 Warp::addresses(const Operand& o) const {
  Lanes64 out;
  uint64_t common = uint64_t(o.value);
  if (o.uniform >= 0 && o.uniform != URZ) {
    // Beside a register that is 64 bits wide, or made so, uniform ones are a pair.
    common += o.wide ? uint64_t(ur[o.uniform + 1]) << 32 | ur[o.uniform] : ur[o.uniform];
  }
  const bool has_register = o.index >= 0 && o.index != RZ;
  for (int l = 0; l < 32; ++l) {
    out[l] = common;
    if (!has_register) continue;
    out[l] += o.wide == 64 ? uint64_t(r[o.index + 1][l]) << 32 | r[o.index][l] : uint64_t(r[o.index][l]) * o.scale;
  }
  return out;
}

uint32_t Warp::shared_offset(uint64_t address, uint32_t bytes) const {
  const uint32_t at = uint32_t(address), base = block.launch.shared_base;
  if (at < base || at - base + bytes > block.launch.shared_bytes) {
    fail("%u bytes at %#x of shared memory, which is %u bytes from %#x", bytes, at, block.launch.shared_bytes, base);
  }
  if (at % bytes) fail("misaligned: %u bytes at %#x of shared memory", bytes, at);
  return at - base;
}

void Warp::read_shared(int lane, uint32_t offset, uint32_t bytes, void* to) {
  const Access by = access(lane);
  for (uint32_t i = offset / 2; i < (offset + bytes + 1) / 2; ++i) {
    block.launch.shared_watch.read(by, block.cells[i], 2 * i);
  }
  std::memcpy(to, &block.shared[offset], bytes);
}

void Warp::write_shared(int lane, uint32_t offset, uint32_t bytes, const void* from) {
  const Access by = access(lane);
  const bool same = !std::memcmp(&block.shared[offset], from, bytes);
  for (uint32_t i = offset / 2; i < (offset + bytes + 1) / 2; ++i) {
    block.launch.shared_watch.write(by, block.cells[i], 2 * i, same);
  }
  std::memcpy(&block.shared[offset], from, bytes);
}

void Warp::check_global(int lane, uint64_t address, uint32_t bytes, bool write) {
  if (address % bytes) fail("lane %d: misaligned: %u bytes at %#lx", lane, bytes, address);
  Launch& launch = block.launch;
  const Access by = access(lane);
  for (uint64_t at = address; at < address + bytes; at += 2) {
    Cell* cell = launch.global.at(at);
    if (!cell) fail("lane %d: no memory at %#lx", lane, address);
    if (write) {
      launch.global_watch.write(by, *cell, at);
    } else {
      launch.global_watch.read(by, *cell, at);
    }
  }
}

void Warp::load(const Instruction& in, uint32_t mask) {
  const Lanes64 from = addresses(in.A);
  const uint32_t bytes = in.size, registers = std::max(1u, bytes / 4);
  for (int l = 0; l < 32; ++l) {
    if (!(mask >> l & 1)) continue;
    uint32_t value[4] = {};
    if (in.operation == OP_LDG) {
      check_global(l, from[l], bytes, false);
      std::memcpy(value, reinterpret_cast<const void*>(from[l]), bytes);
    } else if (in.operation == OP_LDS) {
      read_shared(l, shared_offset(from[l], bytes), bytes, value);
    } else {
      if (from[l] + bytes > kLocalBytes) fail("%u bytes at %#lx of local memory", bytes, from[l]);
      local[l].resize(kLocalBytes, 0xff);
      std::memcpy(value, &local[l][from[l]], bytes);
    }
    for (uint32_t i = 0; i < registers && in.D.index != RZ; ++i) r[in.D.index + i][l] = value[i];
  }
}

void Warp::store(const Instruction& in, uint32_t mask) {
  const Lanes64 to = addresses(in.A);
  const uint32_t bytes = in.size, registers = std::max(1u, bytes / 4);
  for (int l = 0; l < 32; ++l) {
    if (!(mask >> l & 1)) continue;
    uint32_t value[4];
    for (uint32_t i = 0; i < registers; ++i) value[i] = in.B.is_zero() ? 0 : r[in.B.index + i][l];
    if (in.operation == OP_STG) {
      check_global(l, to[l], bytes, true);
      std::memcpy(reinterpret_cast<void*>(to[l]), value, bytes);
    } else if (in.operation == OP_STS) {
      write_shared(l, shared_offset(to[l], bytes), bytes, value);
    } else {
      if (to[l] + bytes > kLocalBytes) fail("%u bytes at %#lx of local memory", bytes, to[l]);
      local[l].resize(kLocalBytes, 0xff);
      std::memcpy(&local[l][to[l]], value, bytes);
    }
  }
}

// Matrix m's row i is at the address in lane 8 m + i. Lane l has elements 2 (l % 4) and the next of row l / 4; of the
// transposed matrix with MT88.
void Warp::load_matrices(const Instruction& in) {
  const Lanes64 from = addresses(in.A);
  const int count = in.has(M_4) ? 4 : in.has(M_2) ? 2 : 1;
  for (int m = 0; m < count; ++m) {
    uint16_t rows[8][8];
    for (int i = 0; i < 8; ++i) read_shared(8 * m + i, shared_offset(from[8 * m + i], 16), 16, rows[i]);
    for (int l = 0; l < 32; ++l) {
      const int i = l / 4, j = l % 4 * 2;
      const uint16_t first = in.has(M_MT88) ? rows[j][i] : rows[i][j];
      const uint16_t second = in.has(M_MT88) ? rows[j + 1][i] : rows[i][j + 1];
      r[in.D.index + m][l] = first | uint32_t(second) << 16;
    }
  }
}

void Warp::store_matrices(const Instruction& in) {
  const Lanes64 to = addresses(in.A);
  const int count = in.has(M_4) ? 4 : in.has(M_2) ? 2 : 1;
  for (int m = 0; m < count; ++m) {
    uint16_t rows[8][8];
    for (int l = 0; l < 32; ++l) {
      const int i = l / 4, j = l % 4 * 2;
      const uint32_t value = r[in.B.index + m][l];
      (in.has(M_MT88) ? rows[j][i] : rows[i][j]) = uint16_t(value);
      (in.has(M_MT88) ? rows[j + 1][i] : rows[i][j + 1]) = uint16_t(value >> 16);
    }
    for (int i = 0; i < 8; ++i) write_shared(8 * m + i, shared_offset(to[8 * m + i], 16), 16, rows[i]);
  }
}

// Shared memory is written from now on until the thread has waited, as far as anyone can know; here when it has.
// Without its predicate, or where that doesn't hold with ZFILL, zeros are copied.
void Warp::start_copies(const Instruction& in, uint32_t mask) {
  const Lanes64 to = addresses(in.A), from = addresses(in.B);
  const uint32_t there = predicate(in.Q);
  for (int l = 0; l < 32; ++l) {
    if (!(mask >> l & 1)) continue;
    const Copy copy{groups[l], shared_offset(to[l], in.size), from[l], uint32_t(in.size), place, !(there >> l & 1)};
    const Access by = access(l);
    for (uint32_t i = copy.to / 2; i < (copy.to + copy.bytes) / 2; ++i) {
      block.launch.shared_watch.write(by, block.cells[i], 2 * i);
      block.cells[i].copier = number * 32 + l;
    }
    if (!copy.zeros) check_global(l, copy.from, copy.bytes, false);
    copies[l].push_back(copy);
  }
}

void Warp::finish_copies(int lane, uint32_t pending) {
  std::vector<Copy>& all = copies[lane];
  const auto is_done = [&](const Copy& copy) { return copy.group + pending < groups[lane]; };
  for (const Copy& copy : all) {
    if (!is_done(copy)) continue;
    Access by = access(lane);
    by.place = copy.place;
    for (uint32_t i = copy.to / 2; i < (copy.to + copy.bytes) / 2; ++i) {
      block.cells[i].copier = -1;
      block.launch.shared_watch.write(by, block.cells[i], 2 * i);
    }
    if (copy.zeros) {
      std::memset(&block.shared[copy.to], 0, copy.bytes);
    } else {
      check_global(lane, copy.from, copy.bytes, false);  // it may have been read as late as this
      std::memcpy(&block.shared[copy.to], reinterpret_cast<const void*>(copy.from), copy.bytes);
    }
  }
  all.erase(std::remove_if(all.begin(), all.end(), is_done), all.end());
}

bool Warp::access_memory(const Instruction& in, uint32_t mask) {
  switch (in.operation) {
    case OP_LDG:
    case OP_LDS:
    case OP_LDL:
      load(in, mask);
      return true;
    case OP_STG:
    case OP_STS:
    case OP_STL:
      store(in, mask);
      return true;
    case OP_LDSM:
      require_whole(mask);
      load_matrices(in);
      return true;
    case OP_STSM:
      require_whole(mask);
      store_matrices(in);
      return true;
    case OP_LDGSTS:
      start_copies(in, mask);
      return true;
    case OP_LDGDEPBAR:
      for (int l = 0; l < 32; ++l) groups[l] += mask >> l & 1;
      return true;
    case OP_DEPBAR:
      if (in.A.value != 0 || !in.has(M_LE)) fail("a scoreboard that isn't that of copies");
      for (int l = 0; l < 32; ++l) {
        if (mask >> l & 1) finish_copies(l, uint32_t(in.B.value));
      }
      return true;
  }
  return false;
}

}  // namespace sass
