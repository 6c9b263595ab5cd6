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
#include "cpu/run_backward.h"

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

// shape: B, T, R, D, S, K. `weights`: conv_weight, conv_bias, out_weight, out_bias.
using Shape = std::array<int64_t, 6>;
using Weights = std::array<Address, 4>;

cpu::Stack stack_of(Shape shape, std::vector<int64_t> dilations, bool same, float residual_scale,
                    const RowsTuple& x, const Weights& weights, const RowsTuple& cond, const RowsTuple& saved,
                    int64_t saved_stride, int64_t checkpoint_every) {
  cpu::Stack stack;
  Layer& l = stack.first;
  l.B = shape[0], l.T = shape[1], l.R = shape[2], l.D = shape[3], l.S = shape[4], l.K = shape[5];
  l.C = 2 * l.D, l.residual_scale = residual_scale;
  l.x = rows(x), l.cond = rows(cond);
  l.conv_weight = pointer(weights[0]), l.conv_bias = pointer(weights[1]);
  l.out_weight = pointer(weights[2]), l.out_bias = pointer(weights[3]);
  stack.same_padding = same, stack.dilations = std::move(dilations);
  stack.saved = rows(saved), stack.saved_stride = saved_stride, stack.checkpoint_every = checkpoint_every;
  return stack;
}

// A block is a stack of one layer.
void residual_stack(const std::string& isa, int threads, Shape shape, std::vector<int64_t> dilations, bool same,
                    float residual_scale, const RowsTuple& x, const Weights& weights, const RowsTuple& cond,
                    const RowsTuple& saved, int64_t saved_stride, int64_t checkpoint_every,
                    const RowsTuple& residual, const RowsTuple& skip, const std::array<RowsTuple, 2>& scratch) {
  cpu::Stack stack = stack_of(shape, std::move(dilations), same, residual_scale, x, weights, cond, saved,
                              saved_stride, checkpoint_every);
  stack.first.residual = rows(residual), stack.first.skip = rows(skip);
  stack.scratch[0] = rows(scratch[0]), stack.scratch[1] = rows(scratch[1]);
  cpu::run(cpu::find_isa(isa), cpu::Operator::block, cpu::layers_of(stack), threads);
}

void residual_stack_backward(const std::string& isa, int threads, Shape shape, std::vector<int64_t> dilations,
                             bool same, float residual_scale, const RowsTuple& x, const Weights& weights,
                             const RowsTuple& cond, const RowsTuple& saved, int64_t saved_stride,
                             const RowsTuple& grad_residual, const RowsTuple& grad_skip,
                             const RowsTuple& grad_x, bool want_x, const RowsTuple& grad_a,
                             const RowsTuple& grad_cond, const Weights& grad_weights) {
  cpu::StackGradient gradient;
  gradient.stack = stack_of(shape, std::move(dilations), same, residual_scale, x, weights, cond, saved,
                            saved_stride, 1);
  gradient.grad_residual = rows(grad_residual), gradient.grad_skip = rows(grad_skip);
  gradient.grad_x = rows(grad_x), gradient.want_x = want_x;
  gradient.grad_a = rows(grad_a), gradient.grad_cond = rows(grad_cond);
  const auto writable = [&](int i) { return reinterpret_cast<float*>(grad_weights[i]); };
  gradient.conv_weight = writable(0), gradient.conv_bias = writable(1);
  gradient.out_weight = writable(2), gradient.out_bias = writable(3);
  cpu::run_backward(cpu::find_isa(isa), gradient, threads);
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
  m.def("residual_stack_backward", &residual_stack_backward, release);
}
