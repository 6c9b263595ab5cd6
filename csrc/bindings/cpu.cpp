// Python's door to the CPU kernels. Tensors come as addresses and strides (rows.h); whoever calls has checked
// shapes, types and devices and holds the memory.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "bindings/rows.h"
#include "cpu/dispatch.h"
#include "cpu/memory.h"
#include "cpu/run.h"
#include "cpu/run_backward.h"
#include "cpu/stream.h"

namespace py = pybind11;
using namespace wavenet;

namespace {

// What every kernel is told first: instruction set, threads, dtype of the activations (weights, biases and their
// gradients are float32, or float64 with float64 activations), and whether convolutions may be fast ones.
using How = std::tuple<std::string, int, std::string, bool>;

const cpu::Isa& isa_of(const How& how) { return cpu::find_isa(std::get<0>(how)); }
int threads_of(const How& how) { return std::get<1>(how); }

void* writable(Address address) { return reinterpret_cast<void*>(address); }

Layer layer_of(const How& how, int64_t B, int64_t T) {
  Layer l;
  l.dtype = dtype_of(std::get<2>(how)), l.fast = std::get<3>(how), l.B = B, l.T = T;
  return l;
}

// shape: B, T, D.
Layer gate(const How& how, std::array<int64_t, 3> shape, const RowsTuple& a, const RowsTuple& cond) {
  Layer l = layer_of(how, shape[0], shape[1]);
  l.D = shape[2], l.C = 2 * l.D;
  l.a = rows(a), l.cond = rows(cond);
  return l;
}

void gated_activation(const How& how, std::array<int64_t, 3> shape, const RowsTuple& a, const RowsTuple& cond,
                      const RowsTuple& z) {
  Layer l = gate(how, shape, a, cond);
  l.z = rows(z);
  cpu::run(isa_of(how), cpu::Operator::gate, {l}, threads_of(how));
}

void gated_activation_backward(const How& how, std::array<int64_t, 3> shape, const RowsTuple& a,
                               const RowsTuple& cond, const RowsTuple& grad_z, const RowsTuple& grad_a) {
  Gradient g;
  g.layer = gate(how, shape, a, cond);
  g.grad_z = rows(grad_z), g.grad_a = rows(grad_a);
  cpu::run_backward(isa_of(how), cpu::Operator::gate, {g}, threads_of(how));
}

// What the two bare convolutions share. shape: B, T, R, C, K.
Layer convolution(const How& how, std::array<int64_t, 5> shape, const RowsTuple& x, Address weight, Address bias,
                  int64_t dilation, bool same) {
  Layer l = layer_of(how, shape[0], shape[1]);
  l.R = shape[2], l.C = shape[3], l.D = l.C / 2, l.K = shape[4];
  l.dilation = dilation, l.left = cpu::left_padding(l.K, dilation, same);
  l.x = rows(x), l.conv_weight = pointer(weight), l.conv_bias = pointer(bias);
  return l;
}

void dilated_conv1d(const How& how, std::array<int64_t, 5> shape, const RowsTuple& x, Address weight, Address bias,
                    int64_t dilation, bool same, const RowsTuple& y) {
  Layer l = convolution(how, shape, x, weight, bias, dilation, same);
  l.a = rows(y);
  cpu::run(isa_of(how), cpu::Operator::conv, {l}, threads_of(how));
}

void dilated_conv1d_backward(const How& how, std::array<int64_t, 5> shape, const RowsTuple& x, Address weight,
                             int64_t dilation, bool same, const RowsTuple& grad, const RowsTuple& grad_x,
                             Address grad_weight, Address grad_bias) {
  Gradient g;
  g.layer = convolution(how, shape, x, weight, 0, dilation, same);
  g.grad_a = rows(grad), g.grad_x = rows(grad_x);
  g.conv_weight = writable(grad_weight), g.conv_bias = writable(grad_bias);
  cpu::run_backward(isa_of(how), cpu::Operator::conv, {g}, threads_of(how));
}

void gated_conv1d(const How& how, std::array<int64_t, 5> shape, const RowsTuple& x, Address weight, Address bias,
                  const RowsTuple& cond, int64_t dilation, bool same, const RowsTuple& z) {
  Layer l = convolution(how, shape, x, weight, bias, dilation, same);
  l.cond = rows(cond), l.z = rows(z);
  cpu::run(isa_of(how), cpu::Operator::gated_conv, {l}, threads_of(how));
}

// grad_cond: of local conditioning if its time stride isn't 0, else of global.
void gated_conv1d_backward(const How& how, std::array<int64_t, 5> shape, const RowsTuple& x, Address weight,
                           Address bias, const RowsTuple& cond, int64_t dilation, bool same, const RowsTuple& grad,
                           const RowsTuple& grad_x, Address grad_weight, Address grad_bias,
                           const RowsTuple& grad_cond) {
  Gradient g;
  g.layer = convolution(how, shape, x, weight, bias, dilation, same);
  g.layer.cond = rows(cond);
  g.grad_z = rows(grad), g.grad_x = rows(grad_x);
  g.conv_weight = writable(grad_weight), g.conv_bias = writable(grad_bias);
  const Rows of_cond = rows(grad_cond);
  (of_cond.time_stride == 0 ? g.cond_sum : g.grad_a) = of_cond;
  cpu::run_backward(isa_of(how), cpu::Operator::gated_conv, {g}, threads_of(how));
}

// shape: B, T, R, D, S, K. `weights`: conv_weight, conv_bias, out_weight, out_bias.
using Shape = std::array<int64_t, 6>;
using Weights = std::array<Address, 4>;

cpu::Stack stack_of(const How& how, Shape shape, std::vector<int64_t> dilations, bool same, double residual_scale,
                    const RowsTuple& x, const Weights& weights, const RowsTuple& cond, const RowsTuple& saved,
                    int64_t saved_stride, int64_t checkpoint_every) {
  cpu::Stack stack;
  Layer& l = stack.first;
  l = layer_of(how, shape[0], shape[1]);
  l.R = shape[2], l.D = shape[3], l.S = shape[4], l.K = shape[5];
  l.C = 2 * l.D, l.residual_scale = residual_scale;
  l.x = rows(x), l.cond = rows(cond);
  l.conv_weight = pointer(weights[0]), l.conv_bias = pointer(weights[1]);
  l.out_weight = pointer(weights[2]), l.out_bias = pointer(weights[3]);
  stack.same_padding = same, stack.dilations = std::move(dilations);
  stack.saved = rows(saved), stack.saved_stride = saved_stride, stack.checkpoint_every = checkpoint_every;
  return stack;
}

// A block is a stack of one layer.
void residual_stack(const How& how, Shape shape, std::vector<int64_t> dilations, bool same, double residual_scale,
                    const RowsTuple& x, const Weights& weights, const RowsTuple& cond, const RowsTuple& saved,
                    int64_t saved_stride, int64_t checkpoint_every, const RowsTuple& residual, const RowsTuple& skip,
                    const std::array<RowsTuple, 2>& scratch) {
  cpu::Stack stack = stack_of(how, shape, std::move(dilations), same, residual_scale, x, weights, cond, saved,
                              saved_stride, checkpoint_every);
  stack.first.residual = rows(residual), stack.first.skip = rows(skip);
  stack.scratch[0] = rows(scratch[0]), stack.scratch[1] = rows(scratch[1]);
  cpu::run(isa_of(how), cpu::Operator::block, cpu::layers_of(stack), threads_of(how));
}

void residual_stack_backward(const How& how, Shape shape, std::vector<int64_t> dilations, bool same,
                             double residual_scale, const RowsTuple& x, const Weights& weights, const RowsTuple& cond,
                             const RowsTuple& saved, int64_t saved_stride, const RowsTuple& grad_residual,
                             const RowsTuple& grad_skip, const RowsTuple& grad_x, bool want_x,
                             const RowsTuple& grad_cond, const Weights& grad_weights) {
  cpu::StackGradient gradient;
  gradient.stack = stack_of(how, shape, std::move(dilations), same, residual_scale, x, weights, cond, saved,
                            saved_stride, 1);
  gradient.grad_residual = rows(grad_residual), gradient.grad_skip = rows(grad_skip);
  gradient.grad_x = rows(grad_x), gradient.want_x = want_x, gradient.grad_cond = rows(grad_cond);
  gradient.conv_weight = writable(grad_weights[0]), gradient.conv_bias = writable(grad_weights[1]);
  gradient.out_weight = writable(grad_weights[2]), gradient.out_bias = writable(grad_weights[3]);
  cpu::run_backward(isa_of(how), cpu::Operator::block, cpu::gradients_of(gradient), threads_of(how));
}

// shape: B, R, D, S, K.
std::unique_ptr<cpu::Stream> make_stream(const How& how, std::array<int64_t, 5> shape,
                                         const std::vector<int64_t>& dilations, double residual_scale,
                                         const Weights& weights) {
  Layer l = layer_of(how, shape[0], 0);
  l.R = shape[1], l.D = shape[2], l.S = shape[3], l.K = shape[4];
  l.C = 2 * l.D, l.residual_scale = residual_scale;
  l.conv_weight = pointer(weights[0]), l.conv_bias = pointer(weights[1]);
  l.out_weight = pointer(weights[2]), l.out_bias = pointer(weights[3]);
  return std::make_unique<cpu::Stream>(isa_of(how), l, dilations);
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
  m.def("workspace_peak", &cpu::workspace_peak, "Most bytes of workspace held at one time since the last reset.",
        py::arg("reset"));

  const py::call_guard<py::gil_scoped_release> release;
  m.def("gated_activation", &gated_activation, release);
  m.def("gated_activation_backward", &gated_activation_backward, release);
  m.def("dilated_conv1d", &dilated_conv1d, release);
  m.def("dilated_conv1d_backward", &dilated_conv1d_backward, release);
  m.def("gated_conv1d", &gated_conv1d, release);
  m.def("gated_conv1d_backward", &gated_conv1d_backward, release);
  m.def("residual_stack", &residual_stack, release);
  m.def("residual_stack_backward", &residual_stack_backward, release);

  py::class_<cpu::Stream>(m, "Stream")
      .def(py::init(&make_stream))
      .def(
          "step",
          [](cpu::Stream& stream, int64_t T, const RowsTuple& x, const RowsTuple& cond, const RowsTuple& residual,
             const RowsTuple& skip, int threads) {
            stream.step(T, rows(x), rows(cond), rows(residual), rows(skip), threads);
          },
          release)
      .def("reset", &cpu::Stream::reset, release)
      .def("state_rows", &cpu::Stream::state_rows)
      .def("load_state", [](cpu::Stream& stream, Address from) { stream.load_state(pointer(from)); }, release)
      .def("store_state", [](const cpu::Stream& stream, Address to) { stream.store_state(writable(to)); }, release);
}
