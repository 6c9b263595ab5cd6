// Python's door to the CUDA kernels. As in cpu.cpp, tensors come as addresses and strides and have been
// checked; the stream and the device come as torch's numbers for them. Importing touches no GPU.
#include <cuda_runtime_api.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "bindings/rows.h"
#include "cuda/errors.h"
#include "cuda/kernels.h"
#include "cuda/stack.h"
#include "cuda/stream.h"

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

// B, T, R, D, S, K
using Sizes = std::array<int64_t, 6>;
using Weights = std::array<Address, 4>;  // conv_weight, conv_bias, out_weight, out_bias; 0: absent

cuda::StackShape stack_shape(const std::string& dtype, Sizes sizes, std::vector<int64_t> dilations, bool same) {
  cuda::StackShape shape;
  shape.dtype = dtype_of(dtype), shape.B = sizes[0], shape.T = sizes[1];
  shape.R = static_cast<int>(sizes[2]), shape.D = static_cast<int>(sizes[3]);
  shape.S = static_cast<int>(sizes[4]), shape.K = static_cast<int>(sizes[5]);
  shape.dilations = std::move(dilations), shape.same = same;
  return shape;
}

cuda::StackTensors stack_tensors(const RowsTuple& x, const Weights& weights, const RowsTuple& cond, double scale) {
  cuda::StackTensors tensors;
  tensors.x = rows(x), tensors.cond = rows(cond), tensors.residual_scale = static_cast<float>(scale);
  tensors.conv_weight = pointer(weights[0]), tensors.conv_bias = pointer(weights[1]);
  tensors.out_weight = pointer(weights[2]), tensors.out_bias = pointer(weights[3]);
  return tensors;
}

void* writable(Address address) { return reinterpret_cast<void*>(address); }

void stack_forward(const cuda::StackForward& plan, int device, Address stream, const RowsTuple& x, const Weights& weights,
                   const RowsTuple& cond, double scale, const RowsTuple& saved, int64_t saved_stride,
                   int checkpoint_every, const RowsTuple& residual, const RowsTuple& skip, const RowsTuple& z,
                   Address workspace) {
  cuda::ForwardOutputs outputs;
  outputs.saved = rows(saved), outputs.saved_stride = saved_stride, outputs.checkpoint_every = checkpoint_every;
  outputs.residual = rows(residual), outputs.skip = rows(skip), outputs.z = rows(z);
  const cuda::DeviceScope scope(device);
  plan.run(stack_tensors(x, weights, cond, scale), outputs, static_cast<char*>(writable(workspace)), stream_of(stream));
}

void stack_backward(const cuda::StackBackward& plan, int device, Address stream, const RowsTuple& x,
                    const Weights& weights, const RowsTuple& cond, double scale, const RowsTuple& saved,
                    int64_t saved_stride, const RowsTuple& grad_residual, const RowsTuple& grad_skip,
                    const RowsTuple& grad_z, const RowsTuple& grad_x, bool want_x, const Weights& grad_weights,
                    const RowsTuple& grad_cond, Address workspace) {
  cuda::Gradients gradients;
  gradients.saved = rows(saved), gradients.saved_stride = saved_stride;
  gradients.residual = rows(grad_residual), gradients.skip = rows(grad_skip), gradients.z = rows(grad_z);
  gradients.x = rows(grad_x), gradients.want_x = want_x, gradients.cond = rows(grad_cond);
  gradients.conv_weight = writable(grad_weights[0]), gradients.conv_bias = writable(grad_weights[1]);
  gradients.out_weight = writable(grad_weights[2]), gradients.out_bias = writable(grad_weights[3]);
  const cuda::DeviceScope scope(device);
  plan.run(stack_tensors(x, weights, cond, scale), gradients, static_cast<char*>(writable(workspace)),
           stream_of(stream));
}

void stream_pack(const cuda::StackStream& plan, int device, Address stream, const Weights& weights, Address to) {
  const cuda::DeviceScope scope(device);
  plan.pack_weights(pointer(weights[0]), pointer(weights[2]), static_cast<char*>(writable(to)), stream_of(stream));
}

// shape: B, T.
void stream_step(const cuda::StackStream& plan, int device, Address stream, std::array<int64_t, 2> shape,
                 const RowsTuple& x, const Weights& weights, Address packed, const RowsTuple& cond, double scale,
                 Address state, Address positions, const RowsTuple& residual, const RowsTuple& skip) {
  cuda::StreamArguments chunk;
  chunk.B = shape[0], chunk.T = shape[1], chunk.residual_scale = static_cast<float>(scale);
  chunk.x = rows(x), chunk.cond = rows(cond), chunk.residual = rows(residual), chunk.skip = rows(skip);
  chunk.weights = static_cast<const char*>(pointer(packed));
  chunk.conv_bias = pointer(weights[1]), chunk.out_bias = pointer(weights[3]);
  chunk.state = writable(state), chunk.positions = static_cast<int64_t*>(writable(positions));
  const cuda::DeviceScope scope(device);
  plan.step(chunk, stream_of(stream));
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

  // Plans; ValueError where the device has no room for such sizes.
  py::class_<cuda::StackForward>(m, "StackForward", py::module_local())
      .def(py::init([](int device, const std::string& dtype, Sizes sizes, std::vector<int64_t> dilations, bool same,
                       bool residual, bool skip, bool keep) {
        const cuda::DeviceScope scope(device);
        return cuda::StackForward(stack_shape(dtype, sizes, std::move(dilations), same), residual, skip, keep);
      }))
      .def_property_readonly("workspace_bytes", &cuda::StackForward::workspace_bytes)
      .def_property_readonly("groups", &cuda::StackForward::groups, "Layers of each launch.")
      .def("run", &stack_forward, release);
  py::class_<cuda::StackBackward>(m, "StackBackward", py::module_local())
      .def(py::init([](int device, const std::string& dtype, Sizes sizes, std::vector<int64_t> dilations, bool same,
                       bool residual, bool skip, bool fuse) {
        const cuda::DeviceScope scope(device);
        return cuda::StackBackward(stack_shape(dtype, sizes, std::move(dilations), same), residual, skip, fuse);
      }))
      .def_property_readonly("fused_layers", &cuda::StackBackward::fused_layers, "Of one launch each.")
      .def_property_readonly("workspace_bytes", &cuda::StackBackward::workspace_bytes)
      .def("run", &stack_backward, release);
  py::class_<cuda::StackStream>(m, "StackStream", py::module_local())
      .def(py::init([](int device, const std::string& dtype, Sizes sizes, std::vector<int64_t> dilations) {
        const cuda::DeviceScope scope(device);
        return cuda::StackStream(stack_shape(dtype, sizes, std::move(dilations), false));
      }))
      .def_property_readonly("weight_bytes", &cuda::StackStream::weight_bytes)
      .def("pack", &stream_pack, release)
      .def("step", &stream_step, release);
}
