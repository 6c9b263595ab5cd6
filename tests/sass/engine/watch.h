// Finds data races by happens-before, so that it doesn't matter in which order the threads ran.
//
// Of every two bytes it is remembered who wrote them last and who has read them since. Two accesses, one of them a
// write, are a race unless one happens before the other:
//   of two blocks       never, within a launch
//   of two warps        if a barrier of the block lies between them: the block's epoch has changed
//   of two lanes        if a __syncwarp or a barrier lies between them: the warp's count of those has changed
// A copy by cp.async writes from when it is issued to when its thread has waited for it, and races with anything
// between, whoever does it. Several warps or lanes that write what is already there are let pass in shared memory:
// Triton does so where a layout is replicated.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace sass {

// Who accesses, and when.
struct Access {
  uint32_t block;       // counted from 1
  uint32_t warp, lane;
  uint32_t epoch;       // barriers that the block has passed
  uint32_t warp_epoch;  // synchronisations that the warp has passed
  uint32_t place;       // the instruction's number
};

struct Cell {
  uint32_t block = 0, warp = 0, lane = 0, epoch = 0, warp_epoch = 0, place = 0;  // of the last write; block 0: none
  uint32_t read_block = 0, read_epoch = 0, read_warp_epoch = 0, read_place = 0;  // of the last read
  uint32_t read_warps = 0, read_lane = 0;  // those that read in that epoch
  bool read_by_several_blocks = false;
  int32_t copier = -1;  // thread whose copy to here is on its way
};

struct Race {
  std::string what;
  uint32_t place, other;  // instructions' numbers
  uint32_t block, warp, lane, other_block, other_warp, other_lane;
  uint64_t address;
};

class Watch {
 public:
  Watch(const char* memory, std::vector<Race>& found) : memory_(memory), found_(found) {}
  void read(const Access& by, Cell& cell, uint64_t address) {
    if (cell.copier >= 0) report("read before the copy there is waited for", by, cell, address);
    if (cell.block && !ordered_after_write(by, cell)) report("read after write", by, cell, address);
    const bool same = cell.read_block == by.block && cell.read_epoch == by.epoch;
    if (cell.read_block && cell.read_block != by.block) cell.read_by_several_blocks = true;
    cell.read_warps = (same ? cell.read_warps : 0) | 1u << by.warp;
    cell.read_block = by.block, cell.read_epoch = by.epoch, cell.read_warp_epoch = by.warp_epoch;
    cell.read_lane = by.lane, cell.read_place = by.place;
  }
  // `same`: the value is what is already there.
  void write(const Access& by, Cell& cell, uint64_t address, bool same = false) {
    if (cell.copier >= 0) report("write before the copy there is waited for", by, cell, address);
    if (!same && cell.block && !ordered_after_write(by, cell)) report("write after write", by, cell, address);
    if (!same && cell.read_block && !ordered_after_reads(by, cell)) report("write after read", by, cell, address, true);
    cell.block = by.block, cell.warp = by.warp, cell.lane = by.lane, cell.epoch = by.epoch;
    cell.warp_epoch = by.warp_epoch, cell.place = by.place;
    if (!same) cell.read_block = 0, cell.read_warps = 0, cell.read_by_several_blocks = false;
  }

 private:
  static bool ordered_after_write(const Access& by, const Cell& cell) {
    if (cell.block != by.block) return false;
    if (cell.epoch != by.epoch) return true;
    return cell.warp == by.warp && (cell.lane == by.lane || cell.warp_epoch != by.warp_epoch);
  }
  static bool ordered_after_reads(const Access& by, const Cell& cell) {
    if (cell.read_by_several_blocks || cell.read_block != by.block) return false;
    if (cell.read_epoch != by.epoch) return true;
    if (cell.read_warps & ~(1u << by.warp)) return false;
    return cell.read_lane == by.lane || cell.read_warp_epoch != by.warp_epoch;
  }
  void report(const char* what, const Access& by, const Cell& cell, uint64_t address, bool of_read = false);

  const char* memory_;
  std::vector<Race>& found_;
  std::unordered_map<uint64_t, int> seen_;  // by the two places, how often
};

// Cells for any address of global memory, made when it is first accessed.
class GlobalCells {
 public:
  static constexpr uint64_t kPage = 4096;
  // Null if the process has no memory there.
  Cell* at(uint64_t address);
  void clear() { pages_.clear(), last_ = nullptr, last_page_ = 0; }

 private:
  std::unordered_map<uint64_t, std::unique_ptr<Cell[]>> pages_;
  Cell* last_ = nullptr;
  uint64_t last_page_ = 0;
};

}  // namespace sass
