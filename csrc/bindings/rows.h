// How tensors come in from Python: rows as (address, batch stride, time stride, channel stride), weights as
// addresses, dtypes by torch's names.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <tuple>

#include "layer.h"

namespace wavenet {

using Address = std::uintptr_t;
using RowsTuple = std::tuple<Address, int64_t, int64_t, int64_t>;  // address 0: absent

inline Rows rows(const RowsTuple& t) {
  return {reinterpret_cast<void*>(std::get<0>(t)), std::get<1>(t), std::get<2>(t), std::get<3>(t)};
}

inline DType dtype_of(const std::string& name) {
  if (name == "float32") return DType::float32;
  if (name == "bfloat16") return DType::bfloat16;
  if (name == "float16") return DType::float16;
  if (name == "float64") return DType::float64;
  throw std::invalid_argument("dtype " + name + " is not one of float32, bfloat16, float16, float64");
}

inline const void* pointer(Address address) { return reinterpret_cast<const void*>(address); }

}  // namespace wavenet
