// Python's door to the CUDA kernels. As in cpu.cpp, tensors come as addresses and strides and have been
// checked; the stream and the device come as torch's numbers for them. Importing touches no GPU.
#include <cuda_runtime_api.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <string>

#include "bindings/rows.h"
#include "cuda/errors.h"
#include "cuda/kernels.h"

namespace py = pybind11;
using namespace wavenet;

namespace {

// shape: B, T, D.
Layer gate(const std::string& dtype, std::array<int64_t, 3> shape, const RowsTuple& a, const RowsTuple& cond) {
  Layer l;
  l.dtype = dtype_of(dtype);
  l.B = shape[0], l.T = shape[1], l.D = shape[2], l.C = 2 * l.D;
  l.a = rows(a), l.cond = rows(cond);
  return l;
}

cudaStream_t stream_of(Address stream) { return reinterpret_cast<cudaStream_t>(stream); }

void gated_activation(int device, Address stream, const std::string& dtype, std::array<int64_t, 3> shape,
                      const RowsTuple& a, const RowsTuple& cond, const RowsTuple& z) {
  Layer l = gate(dtype, shape, a, cond);
  l.z = rows(z);
  const cuda::DeviceScope scope(device);
  cuda::gated_activation(l, stream_of(stream));
}

void gated_activation_backward(int device, Address stream, const std::string& dtype,
                               std::array<int64_t, 3> shape, const RowsTuple& grad_z, const RowsTuple& a,
                               const RowsTuple& cond, const RowsTuple& grad_a) {
  const Layer l = gate(dtype, shape, a, cond);
  const cuda::DeviceScope scope(device);
  cuda::gated_activation_backward(l, rows(grad_z), rows(grad_a), stream_of(stream));
}

py::dict build_info() {
  py::dict info;
  info["version"] = WAVENET_KERNELS_VERSION;
  info["compiler"] = __VERSION__;
  info["archs"] = WAVENET_CUDA_ARCHS;
  info["cudart"] = std::to_string(CUDART_VERSION / 1000) + "." + std::to_string(CUDART_VERSION % 1000 / 10);
  return info;
}

// Why this build's kernels can't run on a device; empty if they can.
std::string refusal(int device) {
  const cuda::DeviceScope scope(device);
  const cudaError_t status = cuda::find_code();
  return status == cudaSuccess ? "" : cudaGetErrorString(status);
}

// Devices that this module's CUDA runtime sees: none without a driver, which is no error.
int device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : (cudaGetLastError(), 0);
}

}  // namespace

PYBIND11_MODULE(_cuda, m) {
  m.doc() = "CUDA kernels of wavenet_kernels; called by wavenet_kernels.backends.cuda.";
  m.def("build_info", &build_info, "Version, compiler, architectures built for, and CUDA runtime.");
  m.def("device_count", &device_count, "Devices that the CUDA runtime in this module sees.");

  m.def("refusal", &refusal, "Why the kernels can't run on the device of that index; '' if they can.");

  const py::call_guard<py::gil_scoped_release> release;
  m.def("gated_activation", &gated_activation, release);
  m.def("gated_activation_backward", &gated_activation_backward, release);
}
