// Python's door to the CUDA kernels. As in cpu.cpp, tensors come as addresses and strides and have been
// checked; the stream comes as torch's number for it, and its device is current. Importing touches no GPU.
#include <cuda_runtime_api.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

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

cudaStream_t stream_of(Address stream) { return reinterpret_cast<cudaStream_t>(stream); }

Layer gate(const std::string& dtype, int64_t B, int64_t T, int64_t D, const Rows& a, const Rows& cond) {
  Layer l;
  l.dtype = dtype_of(dtype);
  l.B = B, l.T = T, l.D = D, l.C = 2 * D;
  l.a = a, l.cond = cond;
  return l;
}

void gated_activation(Address stream, const std::string& dtype, int64_t B, int64_t T, int64_t D,
                      const Rows& a, const Rows& cond, const Rows& z) {
  Layer l = gate(dtype, B, T, D, a, cond);
  l.z = z;
  cuda::gated_activation(l, stream_of(stream));
}

void gated_activation_backward(Address stream, const std::string& dtype, int64_t B, int64_t T, int64_t D,
                               const Rows& a, const Rows& cond, const Rows& grad_z, const Rows& grad_a) {
  const Layer l = gate(dtype, B, T, D, a, cond);
  cuda::gated_activation_backward(l, grad_z, grad_a, stream_of(stream));
}

// Sizes and settings of a stack, which plans are made for, and what they are to keep to.
cuda::StackShape make_shape(const std::string& dtype, int64_t B, int64_t T, int R, int D, int S, int K,
                            std::vector<int64_t> dilations, bool same_padding, int layers, int rows, int slab,
                            bool ring) {
  cuda::StackShape shape;
  shape.dtype = dtype_of(dtype), shape.B = B, shape.T = T;
  shape.R = R, shape.D = D, shape.S = S, shape.K = K;
  shape.dilations = std::move(dilations), shape.same = same_padding;
  shape.limits = {layers, rows, slab, ring};
  return shape;
}

cuda::StackTensors make_tensors(const Rows& x, Address conv_weight, Address conv_bias, Address out_weight,
                                Address out_bias, const Rows& cond, double residual_scale) {
  cuda::StackTensors tensors;
  tensors.x = x, tensors.cond = cond, tensors.residual_scale = static_cast<float>(residual_scale);
  tensors.conv_weight = pointer(conv_weight), tensors.conv_bias = pointer(conv_bias);
  tensors.out_weight = pointer(out_weight), tensors.out_bias = pointer(out_bias);
  return tensors;
}

void stack_forward(const cuda::StackForward& plan, Address stream, const cuda::StackTensors& tensors,
                   const Rows& y, const Rows& residual, const Rows& skip, const Rows& saved, int64_t saved_stride,
                   int checkpoint_every, Address workspace) {
  cuda::ForwardOutputs outputs;
  outputs.saved = saved, outputs.saved_stride = saved_stride, outputs.checkpoint_every = checkpoint_every;
  outputs.residual = residual, outputs.skip = skip, outputs.z = y;
  plan.run(tensors, outputs, static_cast<char*>(pointer(workspace)), stream_of(stream));
}

void stack_backward(const cuda::StackBackward& plan, Address stream, const cuda::StackTensors& tensors,
                    const Rows& grad_y, const Rows& grad_residual, const Rows& grad_skip, const Rows& saved,
                    int64_t saved_stride, const Rows& grad_x, bool want_x, Address grad_conv_weight,
                    Address grad_conv_bias, Address grad_out_weight, Address grad_out_bias, const Rows& grad_cond,
                    Address workspace) {
  cuda::Gradients gradients;
  gradients.saved = saved, gradients.saved_stride = saved_stride;
  gradients.residual = grad_residual, gradients.skip = grad_skip, gradients.z = grad_y;
  gradients.x = grad_x, gradients.want_x = want_x, gradients.cond = grad_cond;
  gradients.conv_weight = pointer(grad_conv_weight), gradients.conv_bias = pointer(grad_conv_bias);
  gradients.out_weight = pointer(grad_out_weight), gradients.out_bias = pointer(grad_out_bias);
  plan.run(tensors, gradients, static_cast<char*>(pointer(workspace)), stream_of(stream));
}

void stream_pack(const cuda::StackStream& plan, Address stream, Address conv_weight, Address out_weight,
                 Address packed) {
  plan.pack_weights(pointer(conv_weight), pointer(out_weight), static_cast<char*>(pointer(packed)), stream_of(stream));
}

void stream_step(const cuda::StackStream& plan, Address stream, int64_t B, int64_t T, const Rows& x,
                 Address packed, Address conv_bias, Address out_bias, const Rows& cond, double residual_scale,
                 Address state, Address positions, const Rows& residual, const Rows& skip) {
  cuda::StreamArguments chunk;
  chunk.B = B, chunk.T = T, chunk.residual_scale = static_cast<float>(residual_scale);
  chunk.x = x, chunk.cond = cond, chunk.residual = residual, chunk.skip = skip;
  chunk.weights = static_cast<const char*>(pointer(packed));
  chunk.conv_bias = pointer(conv_bias), chunk.out_bias = pointer(out_bias);
  chunk.state = pointer(state), chunk.positions = static_cast<int64_t*>(pointer(positions));
  plan.step(chunk, stream_of(stream));
}

py::dict regions(const cuda::LaunchPlan& plan) {
  py::dict bytes;
  int at = 0;
  for (const cuda::Region& region : plan.regions) {
    bytes[region.name] = region.end - at;
    at = region.end;
  }
  return bytes;
}

py::dict build_info() {
  py::dict info;
  info["version"] = WAVENET_KERNELS_VERSION;
  info["compiler"] = __VERSION__;
  info["archs"] = WAVENET_CUDA_ARCHS;
  info["cudart"] = std::to_string(CUDART_VERSION / 1000) + "." + std::to_string(CUDART_VERSION % 1000 / 10);
  return info;
}

// Why this build's kernels can't run on the current device; empty if they can.
std::string refusal() {
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

  m.def("refusal", &refusal, "Why the kernels can't run on the current device; '' if they can.");

  const py::call_guard<py::gil_scoped_release> release;
  m.def("gated_activation", &gated_activation, release, py::kw_only(), py::arg("stream"),
        py::arg("dtype"), py::arg("B"), py::arg("T"), py::arg("D"), py::arg("a"), py::arg("cond"), py::arg("z"));
  m.def("gated_activation_backward", &gated_activation_backward, release, py::kw_only(), py::arg("stream"),
        py::arg("dtype"), py::arg("B"), py::arg("T"), py::arg("D"), py::arg("a"), py::arg("cond"),
        py::arg("grad_z"), py::arg("grad_a"));

  const cuda::Limits none;
  py::class_<cuda::StackShape>(m, "StackShape", py::module_local())
      .def(py::init(&make_shape), py::kw_only(), py::arg("dtype"), py::arg("B"), py::arg("T"), py::arg("R"),
           py::arg("D"), py::arg("S"), py::arg("K"), py::arg("dilations"), py::arg("same_padding"),
           py::arg("layers") = none.layers, py::arg("rows") = none.rows, py::arg("slab") = none.slab,
           py::arg("ring") = none.ring);
  py::class_<cuda::StackTensors>(m, "StackTensors", py::module_local())
      .def(py::init(&make_tensors), py::kw_only(), py::arg("x"), py::arg("conv_weight"), py::arg("conv_bias"),
           py::arg("out_weight"), py::arg("out_bias"), py::arg("cond"), py::arg("residual_scale"));

  py::class_<cuda::Device>(m, "Device", py::module_local(), "What plans know of a device.")
      .def_static("at", &cuda::device_at, "The device of that index.", py::arg("index"))
      .def_static("typical", &cuda::typical_device, "A chip of an architecture, e.g. sm_90: here or not.",
                  py::arg("architecture"))
      .def_readonly("multiprocessors", &cuda::Device::multiprocessors)
      .def_readonly("shared_bytes", &cuda::Device::shared_bytes, "That a block may have.");

  py::class_<cuda::LaunchPlan>(m, "Launch", py::module_local(), "One launch of a plan.")
      .def_property_readonly("kernel", [](const cuda::LaunchPlan& plan) { return plan.kernel; })
      .def_readonly("first", &cuda::LaunchPlan::first, "Its first layer.")
      .def_readonly("count", &cuda::LaunchPlan::count, "How many layers.")
      .def_property_readonly("blocks", [](const cuda::LaunchPlan& plan) { return plan.tiled.blocks; })
      .def_property_readonly("shared_bytes", [](const cuda::LaunchPlan& plan) { return plan.tiled.shared_bytes; })
      .def_property_readonly("regions", &regions, "Bytes of shared memory by what they hold, in their order.")
      .def("__repr__", &cuda::describe);

  // Plans; ValueError where the device has no room for such sizes.
  py::class_<cuda::StackForward>(m, "StackForward", py::module_local())
      .def(py::init<cuda::StackShape, bool, bool, bool, const cuda::Device&>(), py::kw_only(), py::arg("shape"),
           py::arg("residual"), py::arg("skip"), py::arg("keep"), py::arg("device"))
      .def_property_readonly("workspace_bytes", &cuda::StackForward::workspace_bytes)
      .def_property_readonly("launches", &cuda::StackForward::launches)
      .def("__repr__", &cuda::StackForward::describe)
      .def("run", &stack_forward, release, py::kw_only(), py::arg("stream"), py::arg("tensors"),
           py::arg("y"), py::arg("residual"), py::arg("skip"), py::arg("saved"), py::arg("saved_stride"),
           py::arg("checkpoint_every"), py::arg("workspace"));
  py::class_<cuda::StackBackward>(m, "StackBackward", py::module_local())
      .def(py::init<cuda::StackShape, bool, bool, bool, const cuda::Device&>(), py::kw_only(), py::arg("shape"),
           py::arg("residual"), py::arg("skip"), py::arg("fuse"), py::arg("device"))
      .def_property_readonly("launches", &cuda::StackBackward::launches, "Those in tiles, in their order.")
      .def("__repr__", &cuda::StackBackward::describe)
      .def_property_readonly("workspace_bytes", &cuda::StackBackward::workspace_bytes)
      .def("run", &stack_backward, release, py::kw_only(), py::arg("stream"), py::arg("tensors"),
           py::arg("grad_y"), py::arg("grad_residual"), py::arg("grad_skip"), py::arg("saved"),
           py::arg("saved_stride"), py::arg("grad_x"), py::arg("want_x"), py::arg("grad_conv_weight"),
           py::arg("grad_conv_bias"), py::arg("grad_out_weight"), py::arg("grad_out_bias"), py::arg("grad_cond"),
           py::arg("workspace"));
  py::class_<cuda::StackStream>(m, "StackStream", py::module_local())
      .def(py::init<const cuda::StackShape&, const cuda::Device&>(), py::kw_only(), py::arg("shape"),
           py::arg("device"))
      .def_property_readonly("weight_bytes", &cuda::StackStream::weight_bytes)
      .def_property_readonly("launch", &cuda::StackStream::launch)
      .def("__repr__", [](const cuda::StackStream& plan) { return cuda::describe(plan.launch()); })
      .def("pack", &stream_pack, release, py::kw_only(), py::arg("stream"), py::arg("conv_weight"),
           py::arg("out_weight"), py::arg("packed"))
      .def("step", &stream_step, release, py::kw_only(), py::arg("stream"), py::arg("B"),
           py::arg("T"), py::arg("x"), py::arg("packed"), py::arg("conv_bias"), py::arg("out_bias"), py::arg("cond"),
           py::arg("residual_scale"), py::arg("state"), py::arg("positions"), py::arg("residual"), py::arg("skip"));
}
