// How tensors come in from Python: rows as (address, batch stride, time stride), weights as addresses.
#pragma once

#include <cstdint>
#include <tuple>

#include "layer.h"

namespace wavenet {

using Address = std::uintptr_t;
using RowsTuple = std::tuple<Address, int64_t, int64_t>;  // address 0: absent

inline Rows rows(const RowsTuple& t) {
  return {reinterpret_cast<void*>(std::get<0>(t)), std::get<1>(t), std::get<2>(t)};
}

inline const void* pointer(Address address) { return reinterpret_cast<const void*>(address); }

}  // namespace wavenet
