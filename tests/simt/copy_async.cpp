// Asynchronous copies. When a copy is done is anybody's guess between its issue and the wait for it, and each is
// done at one or the other at random: that shows a read that does not wait, and a copy into memory still in use.
#include <algorithm>

#include "engine.h"

namespace wavenet::cuda {

namespace simt {

namespace {

void perform(const Copy& copy) {
  if (copy.from) {
    std::memcpy(copy.to, copy.from, 16);
  } else {
    std::memset(copy.to, 0, 16);
  }
}

void touch(const void* address) { static_cast<void>(*static_cast<const volatile char*>(address)); }

}  // namespace

void wait_for_copies(uint32_t pending) {
  Thread& self = *current;
  // Copies that were never committed belong to group number self.groups and are not waited for.
  const auto waited_for = [&](const Copy& copy) { return copy.group + pending < self.groups; };
  for (const Copy& copy : self.copies) {
    if (waited_for(copy) && !copy.done) perform(copy);
  }
  self.copies.erase(std::remove_if(self.copies.begin(), self.copies.end(), waited_for), self.copies.end());
}

}  // namespace simt

void copy_async(void* to, const void* from, bool valid) {
  using namespace simt;
  if (!shared.holds(to, 16)) {
    fail(cudaErrorIllegalAddress, "copy_async writes to %p, not in the block's shared memory", to);
  }
  if (reinterpret_cast<uintptr_t>(to) % 16 || reinterpret_cast<uintptr_t>(from) % 16) {
    fail(cudaErrorMisalignedAddress,
         "copy_async from %p to byte %td of shared memory; both must be multiples of 16", from,
         static_cast<char*>(to) - shared.data);
  }
  const Copy copy{to, valid ? from : nullptr, current->groups, random() % 2 == 0};
  if (valid) touch(from), touch(static_cast<const char*>(from) + 15);  // so that a bad address is caught here
  if (copy.done) perform(copy);
  current->copies.push_back(copy);
}

void copy_async_commit() { ++simt::current->groups; }

}  // namespace wavenet::cuda
