#include "watch.h"

#include <sys/mman.h>

#include <cerrno>

namespace sass {

void Watch::report(const char* what, const Access& by, const Cell& cell, uint64_t address, bool of_read) {
  const uint32_t other = of_read ? cell.read_place : cell.place;
  if (seen_[uint64_t(by.place) << 32 | other]++) return;  // one of each kind is enough
  found_.push_back({std::string(memory_) + " memory: " + what, by.place, other, by.block, by.warp, by.lane,
                    of_read ? cell.read_block : cell.block, of_read ? ~0u : cell.warp,
                    of_read ? cell.read_lane : cell.lane, address});
}

Cell* GlobalCells::at(uint64_t address) {
  const uint64_t page = address / kPage + 1;
  if (page != last_page_) {
    std::unique_ptr<Cell[]>& cells = pages_[page];
    if (!cells) {
      void* start = reinterpret_cast<void*>(address / kPage * kPage);
      if (msync(start, kPage, MS_ASYNC) != 0 && errno == ENOMEM) return nullptr;
      cells.reset(new Cell[kPage / 2]);
    }
    last_ = cells.get(), last_page_ = page;
  }
  return last_ + address % kPage / 2;
}

}  // namespace sass
