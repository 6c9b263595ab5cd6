// Python's door to the CPU kernels. Tensors come as addresses and strides (rows.h); whoever calls has checked
// shapes, types and devices and holds the memory.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <string>
#include <vector>

#include "bindings/rows.h"
#include "cpu/dispatch.h"
#include "cpu/run.h"

namespace py = pybind11;
using namespace wavenet;

namespace {

void gated_activation(const std::string& isa, int threads, std::array<int64_t, 3> shape, const RowsTuple& a,
                      const RowsTuple& cond, const RowsTuple& z) {
  Layer l;
  l.B = shape[0], l.T = shape[1], l.D = shape[2], l.C = 2 * l.D;
  l.a = rows(a), l.cond = rows(cond), l.z = rows(z);
  cpu::run(cpu::find_isa(isa), cpu::Operator::gate, {l}, threads);
}

// What the two bare convolutions share. shape: B, T, R, K.
Layer convolution(std::array<int64_t, 4> shape, int64_t channels, const RowsTuple& x, Address weight,
                  Address bias, int64_t dilation, bool same) {
  Layer l;
  l.B = shape[0], l.T = shape[1], l.R = shape[2], l.K = shape[3], l.C = channels;
  l.dilation = dilation, l.left = cpu::left_padding(l.K, dilation, same);
  l.x = rows(x), l.conv_weight = pointer(weight), l.conv_bias = pointer(bias);
  return l;
}

void dilated_conv1d(const std::string& isa, int threads, std::array<int64_t, 4> shape, int64_t channels,
                    const RowsTuple& x, Address weight, Address bias, int64_t dilation, bool same,
                    const RowsTuple& y) {
  Layer l = convolution(shape, channels, x, weight, bias, dilation, same);
  l.a = rows(y);
  cpu::run(cpu::find_isa(isa), cpu::Operator::conv, {l}, threads);
}

void gated_conv1d(const std::string& isa, int threads, std::array<int64_t, 4> shape, int64_t D,
                  const RowsTuple& x, Address weight, Address bias, const RowsTuple& cond, int64_t dilation,
                  bool same, const RowsTuple& z) {
  Layer l = convolution(shape, 2 * D, x, weight, bias, dilation, same);
  l.D = D, l.cond = rows(cond), l.z = rows(z);
  cpu::run(cpu::find_isa(isa), cpu::Operator::gated_conv, {l}, threads);
}

// A block is a stack of one layer. shape: B, T, R, D, S, K.
void residual_stack(const std::string& isa, int threads, std::array<int64_t, 6> shape,
                    std::vector<int64_t> dilations, bool same, float residual_scale, const RowsTuple& x,
                    Address conv_weight, Address conv_bias, Address out_weight, Address out_bias,
                    const RowsTuple& cond, const RowsTuple& residual, const RowsTuple& skip,
                    const std::array<RowsTuple, 2>& scratch, const RowsTuple& saved, int64_t saved_stride,
                    int64_t checkpoint_every) {
  cpu::Stack stack;
  Layer& l = stack.first;
  l.B = shape[0], l.T = shape[1], l.R = shape[2], l.D = shape[3], l.S = shape[4], l.K = shape[5];
  l.C = 2 * l.D, l.residual_scale = residual_scale;
  l.x = rows(x), l.cond = rows(cond), l.residual = rows(residual), l.skip = rows(skip);
  l.conv_weight = pointer(conv_weight), l.conv_bias = pointer(conv_bias);
  l.out_weight = pointer(out_weight), l.out_bias = pointer(out_bias);
  stack.same_padding = same, stack.dilations = std::move(dilations);
  stack.scratch[0] = rows(scratch[0]), stack.scratch[1] = rows(scratch[1]);
  stack.saved = rows(saved), stack.saved_stride = saved_stride, stack.checkpoint_every = checkpoint_every;
  cpu::run(cpu::find_isa(isa), cpu::Operator::block, cpu::layers_of(stack), threads);
}

std::vector<std::string> names(const std::vector<const cpu::Isa*>& isas) {
  std::vector<std::string> result;
  for (const cpu::Isa* isa : isas) result.emplace_back(isa->name);
  return result;
}

py::dict build_info() {
  py::dict info;
  info["version"] = WAVENET_KERNELS_VERSION;
  info["compiler"] = __VERSION__;
#if defined(_OPENMP)
  info["openmp"] = true;
#else
  info["openmp"] = false;
#endif
  info["isas"] = names(cpu::built_isas());
  info["usable_isas"] = names(cpu::usable_isas());
  return info;
}

}  // namespace

PYBIND11_MODULE(_cpu, m) {
  m.doc() = "CPU kernels of wavenet_kernels; called by wavenet_kernels.backends.cpu.";
  m.def("build_info", &build_info, "Version, compiler, OpenMP, and the instruction sets built and usable.");
  m.def(
      "find_isa", [](const std::string& name) { return std::string(cpu::find_isa(name).name); },
      "The instruction set of that name, the best one for ''; ValueError where there is no such.");

  const py::call_guard<py::gil_scoped_release> release;
  m.def("gated_activation", &gated_activation, release);
  m.def("dilated_conv1d", &dilated_conv1d, release);
  m.def("gated_conv1d", &gated_conv1d, release);
  m.def("residual_stack", &residual_stack, release);
}
