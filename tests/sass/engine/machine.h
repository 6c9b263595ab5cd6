// Executes machine code (SASS), which decoder.py has decoded, on the memory of this process, a warp at a time.
//
// What kernels get wrong shows as follows.
//   a missing barrier, __syncwarp or wait   a data race (watch.h), whatever the order in which threads ran here
//   a missing wait for copies               the same, and old values: cp.async moves its bytes when they are waited for
//   a missing wait for wgmma                an error at the next use of a product's registers, which is computed when
//                                           it is waited for
//   copies or products nobody waited for    an error at the thread's end
//   uninitialised registers, shared memory  NaN: they are filled with 0xff
//   misaligned addresses, shared memory that the launch doesn't have, global memory that the process doesn't have,
//   barriers and matrix instructions that part of a warp reaches, deadlocks   an error with place and thread
// An instruction that isn't known is refused by decoder.py, a use of one that isn't known by an error here.
//
// What this cannot show: the code that a driver compiles from PTX, and code for other chips than sm_80 and sm_90 (no
// tcgen05, TMA, clusters, mbarriers or atomics); whether the stall counts and scoreboards that the compiler encoded
// suffice, since each instruction here sees the results of all before it; the rounding of real tensor cores, which sum
// less exactly than float32 does here, and of MUFU, which is nearly exact here; weak memory order beyond data races;
// global addresses inside the process's memory and outside of the kernel's tensors (tests/simt finds those of
// csrc/cuda with AddressSanitizer); a race between lanes of a warp whose value is read by a third; a race that hides
// because both write the same value to shared memory; anything about speed.
#pragma once

#include <cstdint>
#include <deque>
#include <stdexcept>
#include <string>
#include <vector>

#include "instruction.h"
#include "lanes.h"
#include "trace.h"
#include "watch.h"

namespace sass {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

constexpr uint32_t kAll = 0xffffffffu;

struct Block;

// A copy that cp.async has started.
struct Copy {
  uint32_t group;
  uint32_t to;        // offset in shared memory
  uint64_t from;
  uint32_t bytes, place;
  bool zeros;         // the copy of something that isn't there
};

// A product that a warp's part of wgmma has started.
struct Product {
  const Instruction* instruction;
  uint64_t a, b;  // descriptors of operands in shared memory
  bool accumulate;
  bool committed;  // ends a group
};

struct Warp {
  Warp(Block& block, uint32_t number, uint32_t lanes);

  // Executes one instruction of the lanes that are furthest behind.
  void step();
  bool finished() const { return !live; }

  uint32_t r[256][32];
  uint32_t ur[64];
  uint32_t p[8];   // lanes in which a predicate holds
  uint32_t up[8];  // all or none

  Block& block;
  const uint32_t number;
  uint32_t live;               // lanes that have not exited
  bool at_barrier = false;
  uint32_t barrier = 0;        // which
  uint32_t epoch = 0;          // synchronisations passed
  uint32_t pc[32] = {};        // instructions' numbers
  uint32_t place = 0;          // the number of the instruction that is being executed
  uint32_t active = 0;         // and the lanes that execute it

  // Convergence barriers: BSSY puts lanes into one, BSYNC waits for those in it. kWarpSync stands for __syncwarp.
  static constexpr int kWarpSync = 16;
  uint32_t members[17] = {}, waiting = 0, waits_at[32] = {};

  uint32_t groups[32] = {};  // of copies, that each lane has committed
  std::vector<Copy> copies[32];
  std::deque<Product> products;
  std::vector<uint8_t> local[32];

 private:
  // Each executes the instruction in the lanes of the mask, if it is of its kind.
  bool move_and_compute(const Instruction& in, uint32_t mask);     // integers.cpp
  bool compute_floats(const Instruction& in, uint32_t mask);       // floats.cpp
  bool access_memory(const Instruction& in, uint32_t mask);        // memory.cpp
  bool multiply_matrices(const Instruction& in, uint32_t mask);    // matrices.cpp
  // `at`: the lanes at the instruction, `mask`: those among them whose guard holds.
  bool control(const Instruction& in, uint32_t at, uint32_t mask);  // control.cpp

  void record(const Instruction& in, uint32_t mask);  // before it is executed

  uint32_t guarded(const Instruction& in, uint32_t at) const;
  void advance(uint32_t lanes);
  void wait_at(int barrier, uint32_t at, uint32_t mask);
  void release();
  void require_whole(uint32_t mask) const;
  Access access(int lane) const;

  // Operands in all lanes: bits as they are; integers and floats with their signs; predicates as bits.
  Lanes bits(const Operand& o) const;
  Lanes upper_bits(const Operand& o) const;  // of a pair's second register
  Lanes integers(const Operand& o) const;
  Lanes64 pairs(const Operand& o) const;
  Floats floats(const Operand& o, bool flushed = false) const;
  uint32_t predicate(const Operand& o, bool absent = true) const;
  Lanes constants(const Operand& o, int64_t further) const;

  void put(const Operand& o, const Lanes& value, uint32_t mask);
  void put_pair(const Operand& o, const Lanes64& value, uint32_t mask);
  void put_predicate(const Operand& o, uint32_t value, uint32_t mask);

  Lanes64 addresses(const Operand& o) const;
  uint32_t shared_offset(uint64_t address, uint32_t bytes) const;
  void read_shared(int lane, uint32_t offset, uint32_t bytes, void* to);
  void write_shared(int lane, uint32_t offset, uint32_t bytes, const void* from);
  void check_global(int lane, uint64_t address, uint32_t bytes, bool write);
  void load(const Instruction& in, uint32_t mask);
  void store(const Instruction& in, uint32_t mask);
  void load_matrices(const Instruction& in);
  void store_matrices(const Instruction& in);
  void start_copies(const Instruction& in, uint32_t mask);
  void finish_copies(int lane, uint32_t pending);

  void multiply_warp(const Instruction& in);
  void start_product(const Instruction& in);
  void finish_products(uint32_t pending);
  void require_settled(const Instruction& in) const;
  void multiply_group(const Product& product);
  float read_matrix(const Instruction& in, uint64_t descriptor, int row, int k, bool transposed);
};

// A launch: code, constants, and what is found.
struct Launch {
  const Instruction* code;
  uint32_t instructions;
  uint32_t grid[3], threads[3];
  std::vector<uint8_t> constants[8];
  uint32_t shared_bytes, shared_base;  // the window's first bytes are the system's on sm_90
  uint64_t* executed;      // how often warps executed each instruction
  Trace* trace = nullptr;  // of the one block that runs, or null: all run
  std::vector<Race> races;
  Watch shared_watch{"shared", races}, global_watch{"global", races};
  GlobalCells global;
  void run();
};

struct Block {
  Block(Launch& launch, uint32_t number);
  void run();

  Launch& launch;
  const uint32_t number;
  uint32_t index[3];
  uint32_t epoch = 0;  // barriers passed
  std::vector<uint8_t> shared;
  std::vector<Cell> cells;  // of every two bytes of it
  std::deque<Warp> warps;
};

}  // namespace sass
