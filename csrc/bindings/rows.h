// How tensors come in from Python: activations as Rows (wavenet_kernels/rows.py has the same fields in a NamedTuple),
// weights as addresses, dtypes by torch's names. Address 0: absent.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "layer.h"

namespace wavenet {

using Address = std::uintptr_t;

inline DType dtype_of(const std::string& name) {
  if (name == "float32") return DType::float32;
  if (name == "bfloat16") return DType::bfloat16;
  if (name == "float16") return DType::float16;
  if (name == "float64") return DType::float64;
  throw std::invalid_argument("dtype " + name + " is not one of float32, bfloat16, float16, float64");
}

inline void* pointer(Address address) { return reinterpret_cast<void*>(address); }

}  // namespace wavenet

namespace pybind11::detail {

// From the NamedTuple `Rows(data, batch_stride, time_stride, channel_stride)`.
template <>
struct type_caster<wavenet::Rows> {
  PYBIND11_TYPE_CASTER(wavenet::Rows, const_name("wavenet_kernels.rows.Rows"));

  bool load(handle from, bool) {
    if (!PyTuple_Check(from.ptr()) || PyTuple_GET_SIZE(from.ptr()) != 4) return false;
    const auto field = [&](int index) { return PyLong_AsLongLong(PyTuple_GET_ITEM(from.ptr(), index)); };
    value.data = PyLong_AsVoidPtr(PyTuple_GET_ITEM(from.ptr(), 0));
    value.batch_stride = field(1), value.time_stride = field(2), value.channel_stride = field(3);
    if (!PyErr_Occurred()) return true;
    PyErr_Clear();
    return false;
  }
};

}  // namespace pybind11::detail
