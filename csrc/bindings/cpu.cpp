// Python's door to the CPU kernels. Tensors come as addresses and strides (rows.h); whoever calls has checked
// shapes, types and devices and holds the memory.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bindings/rows.h"
#include "cpu/dispatch.h"
#include "cpu/memory.h"
#include "cpu/pass.h"
#include "cpu/quantized_stream.h"
#include "cpu/sampler.h"
#include "cpu/stream.h"

namespace py = pybind11;
using namespace wavenet;

namespace {

cpu::Operator operator_of(const std::string& name) {
  if (name == "gated_activation") return cpu::Operator::gate;
  if (name == "dilated_conv1d") return cpu::Operator::conv;
  if (name == "gated_conv1d") return cpu::Operator::gated_conv;
  if (name == "residual_stack") return cpu::Operator::block;
  throw std::invalid_argument("there is no operator " + name);
}

cpu::Call make_call(const std::string& name, int64_t B, int64_t T, int64_t R, int64_t C, int64_t S, int64_t K,
                    std::vector<int64_t> dilations, bool same_padding, double residual_scale, const Rows& x,
                    Address conv_weight, Address conv_bias, Address out_weight, Address out_bias, const Rows& cond) {
  cpu::Call call{operator_of(name), {}};
  Layer& l = call.stack.first;
  l.B = B, l.T = T, l.R = R, l.C = C, l.D = C / 2, l.S = S, l.K = K;
  l.residual_scale = residual_scale;
  (call.op == cpu::Operator::gate ? l.a : l.x) = x;
  l.cond = cond;
  l.conv_weight = pointer(conv_weight), l.conv_bias = pointer(conv_bias);
  l.out_weight = pointer(out_weight), l.out_bias = pointer(out_bias);
  call.stack.dilations = std::move(dilations), call.stack.same_padding = same_padding;
  return call;
}

// In the order of the fields of Python's Tensors and Outputs.
void forward(const cpu::ForwardPass& pass, const cpu::Execution& execution, Address x, Address conv_weight,
             Address conv_bias, Address out_weight, Address out_bias, Address cond, Address y, Address residual,
             Address skip, Address saved, Address gates) {
  pass.run({pointer(x), pointer(conv_weight), pointer(conv_bias), pointer(out_weight), pointer(out_bias),
            pointer(cond)},
           {pointer(y), pointer(residual), pointer(skip), pointer(saved), pointer(gates)}, execution);
}

// In the order of the fields of Python's Tensors, Outputs (their gradients) and Gradients.
void backward(const cpu::BackwardPass& pass, const cpu::Execution& execution, Address x, Address conv_weight,
              Address conv_bias, Address out_weight, Address out_bias, Address cond, Address grad_y,
              Address grad_residual, Address grad_skip, Address saved, Address gates, Address grad_x,
              Address grad_conv_weight, Address grad_conv_bias, Address grad_out_weight, Address grad_out_bias,
              Address grad_cond) {
  pass.run({pointer(x), pointer(conv_weight), pointer(conv_bias), pointer(out_weight), pointer(out_bias),
            pointer(cond)},
           {pointer(grad_y), pointer(grad_residual), pointer(grad_skip), pointer(saved), pointer(gates)},
           {pointer(grad_x), pointer(grad_conv_weight), pointer(grad_conv_bias), pointer(grad_out_weight),
            pointer(grad_out_bias), pointer(grad_cond)},
           execution);
}

void copy_rows(const cpu::Execution& execution, int64_t B, int64_t T, int64_t C, const Rows& from, const Rows& to) {
  cpu::copy_rows(execution.isa, from, execution.dtype, B, T, C, to, execution.threads);
}

// Weights are contiguous int8 numbers with float scales, as wavenet_kernels.quantization makes them.
std::unique_ptr<cpu::QuantizedStream> make_quantized_stream(
    const std::string& isa, int64_t R, int64_t D, int64_t S, int64_t K, std::vector<int64_t> dilations,
    double residual_scale, Address conv_weight, Address conv_scale, Address conv_bias, Address out_weight,
    Address out_scale, Address out_bias) {
  const auto floats = [](Address address) { return static_cast<const float*>(pointer(address)); };
  cpu::QuantizedStack stack;
  stack.R = R, stack.D = D, stack.S = S, stack.K = K;
  stack.residual_scale = residual_scale, stack.dilations = std::move(dilations);
  stack.conv_weight = static_cast<const int8_t*>(pointer(conv_weight)), stack.conv_scale = floats(conv_scale);
  stack.out_weight = static_cast<const int8_t*>(pointer(out_weight)), stack.out_scale = floats(out_scale);
  stack.conv_bias = floats(conv_bias), stack.out_bias = floats(out_bias);
  return std::make_unique<cpu::QuantizedStream>(cpu::find_isa(isa), stack);
}

cpu::Draw draw_of(const std::string& name) {
  if (name == "softmax") return cpu::Draw::softmax;
  if (name == "logistic") return cpu::Draw::logistic;
  if (name == "gaussian") return cpu::Draw::gaussian;
  throw std::invalid_argument("there is no draw " + name);
}

// The fields of wavenet_kernels.sampling.SampleNetwork; tensors are contiguous floats.
std::unique_ptr<cpu::Sampler> make_sampler(
    const std::string& isa, int64_t batch, bool half, int64_t codes, int64_t taps, int64_t R, int64_t D, int64_t S,
    int64_t K, int64_t H, int64_t P, std::vector<int64_t> dilations, Address input_weight, Address input_bias,
    Address conv_weight, Address conv_bias, Address out_weight, Address out_bias, Address hidden_weight,
    Address hidden_bias, Address output_weight, Address output_bias, const std::string& draw, double first,
    float residual_scale, float skip_scale, bool input_tanh, std::optional<float> scale_floor) {
  const auto floats = [](Address address) { return static_cast<const float*>(pointer(address)); };
  cpu::SampleNetwork net;
  net.codes = codes, net.taps = taps, net.R = R, net.D = D, net.S = S, net.K = K, net.H = H, net.P = P;
  net.dilations = std::move(dilations);
  net.input_weight = floats(input_weight), net.input_bias = floats(input_bias);
  net.conv_weight = floats(conv_weight), net.conv_bias = floats(conv_bias);
  net.out_weight = floats(out_weight), net.out_bias = floats(out_bias);
  net.hidden_weight = floats(hidden_weight), net.hidden_bias = floats(hidden_bias);
  net.output_weight = floats(output_weight), net.output_bias = floats(output_bias);
  net.draw = draw_of(draw), net.first = first;
  net.residual_scale = residual_scale, net.skip_scale = skip_scale, net.input_tanh = input_tanh;
  net.has_floor = scale_floor.has_value(), net.scale_floor = scale_floor.value_or(0.0f);
  return std::make_unique<cpu::Sampler>(cpu::find_isa(isa), net, batch, half);
}

int64_t run_sampler(cpu::Sampler& sampler, int64_t n, const Rows& cond, Address forced, Address noise, uint64_t seed,
                    uint64_t first_signal, float temperature, Address parameters, Address out, int threads) {
  cpu::SampleRun run;
  run.n = n, run.cond = cond, run.forced = pointer(forced);
  run.noise = static_cast<const float*>(pointer(noise));
  run.seed = seed, run.first_signal = first_signal, run.temperature = temperature;
  run.parameters = static_cast<float*>(pointer(parameters)), run.out = pointer(out);
  return sampler.run(run, threads);
}

// Python's os.environ sets the process's variables, and asking it for one that isn't set takes half a microsecond.
std::optional<std::string> variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? std::optional<std::string>(value) : std::nullopt;
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
  std::vector<const cpu::Isa*> multiplying;
  for (const cpu::Isa* isa : cpu::usable_isas()) {
    if (isa->of_bfloat16) multiplying.push_back(isa);
  }
  info["multiply_bfloat16"] = names(multiplying);
  return info;
}

}  // namespace

PYBIND11_MODULE(_cpu, m) {
  m.doc() = "CPU kernels of wavenet_kernels; called by wavenet_kernels.backends.cpu.";
  m.def("build_info", &build_info,
        "Version, compiler, OpenMP, the instruction sets built and usable, and those that multiply bfloat16 here.");
  m.def(
      "find_isa", [](const std::string& name) { return std::string(cpu::find_isa(name).name); },
      "The instruction set of that name, the best one for ''; ValueError where there is no such.");
  m.def("variable", &variable, "The environment variable of that name, None where it isn't set.");
  m.def("workspace_peak", &cpu::workspace_peak, "Most bytes of workspace held at one time since the last reset.",
        py::arg("reset"));

  py::class_<cpu::Execution>(m, "Execution", py::module_local())
      .def(py::init([](const std::string& isa, int threads, const std::string& dtype, bool fast) {
             return cpu::Execution{cpu::find_isa(isa), threads, dtype_of(dtype), fast};
           }),
           py::kw_only(), py::arg("isa"), py::arg("threads"), py::arg("dtype"), py::arg("fast"));
  py::class_<cpu::Call>(m, "Call", py::module_local())
      .def(py::init(&make_call), py::kw_only(), py::arg("operator"), py::arg("B"), py::arg("T"),
           py::arg("R"), py::arg("C"), py::arg("S"), py::arg("K"), py::arg("dilations"), py::arg("same_padding"),
           py::arg("residual_scale"), py::arg("x"), py::arg("conv_weight"), py::arg("conv_bias"),
           py::arg("out_weight"), py::arg("out_bias"), py::arg("cond"));

  const py::call_guard<py::gil_scoped_release> release;
  m.def("copy_rows", &copy_rows, release, py::arg("execution"), py::kw_only(), py::arg("B"), py::arg("T"),
        py::arg("C"), py::arg("from_"), py::arg("to"));
  py::class_<cpu::ForwardPass>(m, "ForwardPass", py::module_local())
      .def(py::init([](const cpu::Call& call, const Rows& y, const Rows& residual, const Rows& skip,
                       int64_t checkpoint_every) {
             return cpu::ForwardPass{call, y, residual, skip, checkpoint_every};
           }),
           py::arg("call"), py::kw_only(), py::arg("y"), py::arg("residual"), py::arg("skip"),
           py::arg("checkpoint_every"))
      .def("__call__", &forward, release);
  py::class_<cpu::BackwardPass>(m, "BackwardPass", py::module_local())
      .def(py::init([](const cpu::Call& call, const Rows& grad_y, const Rows& grad_residual, const Rows& grad_skip,
                       const Rows& grad_x, const Rows& grad_cond) {
             return cpu::BackwardPass{call, grad_y, grad_residual, grad_skip, grad_x, grad_cond};
           }),
           py::arg("call"), py::kw_only(), py::arg("grad_y"), py::arg("grad_residual"), py::arg("grad_skip"),
           py::arg("grad_x"), py::arg("grad_cond"))
      .def("__call__", &backward, release);

  py::class_<cpu::Stream>(m, "Stream", py::module_local())
      .def(py::init([](const cpu::Execution& execution, const cpu::Call& call) {
             const cpu::Stack stack = call.computed(execution);
             return std::make_unique<cpu::Stream>(execution.isa, stack.first, stack.dilations);
           }),
           py::arg("execution"), py::arg("call"))
      .def("step", &cpu::Stream::step, release, py::kw_only(), py::arg("T"), py::arg("x"), py::arg("cond"),
           py::arg("residual"), py::arg("skip"), py::arg("threads"))
      .def("reset", &cpu::Stream::reset, release)
      .def("state_rows", &cpu::Stream::state_rows)
      .def(
          "load_state", [](cpu::Stream& stream, Address state) { stream.load_state(pointer(state)); }, release,
          py::arg("state"))
      .def(
          "store_state", [](const cpu::Stream& stream, Address state) { stream.store_state(pointer(state)); }, release,
          py::arg("state"));

  py::class_<cpu::QuantizedStream>(m, "QuantizedStream", py::module_local())
      .def(py::init(&make_quantized_stream), py::kw_only(), py::arg("isa"), py::arg("R"), py::arg("D"), py::arg("S"),
           py::arg("K"), py::arg("dilations"), py::arg("residual_scale"), py::arg("conv_weight"),
           py::arg("conv_scale"), py::arg("conv_bias"), py::arg("out_weight"), py::arg("out_scale"),
           py::arg("out_bias"))
      .def(
          "step",
          [](cpu::QuantizedStream& stream, int64_t T, Address rows, Address skip) {
            stream.step(T, static_cast<float*>(pointer(rows)), static_cast<float*>(pointer(skip)));
          },
          release, py::kw_only(), py::arg("T"), py::arg("rows"), py::arg("skip"))
      .def("reset", &cpu::QuantizedStream::reset, release);

  py::class_<cpu::Sampler>(m, "Sampler", py::module_local())
      .def(py::init(&make_sampler), py::kw_only(), py::arg("isa"), py::arg("batch"), py::arg("half"), py::arg("codes"),
           py::arg("taps"), py::arg("R"), py::arg("D"), py::arg("S"), py::arg("K"), py::arg("H"), py::arg("P"),
           py::arg("dilations"), py::arg("input_weight"), py::arg("input_bias"), py::arg("conv_weight"),
           py::arg("conv_bias"), py::arg("out_weight"), py::arg("out_bias"), py::arg("hidden_weight"),
           py::arg("hidden_bias"), py::arg("output_weight"), py::arg("output_bias"), py::arg("draw"), py::arg("first"),
           py::arg("residual_scale"), py::arg("skip_scale"), py::arg("input_tanh"), py::arg("scale_floor"))
      .def("run", &run_sampler, release, py::kw_only(), py::arg("n"), py::arg("cond"), py::arg("forced"),
           py::arg("noise"), py::arg("seed"), py::arg("first_signal"), py::arg("temperature"), py::arg("parameters"),
           py::arg("out"), py::arg("threads"))
      .def("reset", &cpu::Sampler::reset, release)
      .def("position", &cpu::Sampler::position)
      .def("state_size", &cpu::Sampler::state_size)
      .def(
          "store_state",
          [](const cpu::Sampler& sampler, Address state) { sampler.store_state(static_cast<double*>(pointer(state))); },
          release, py::arg("state"))
      .def(
          "load_state",
          [](cpu::Sampler& sampler, Address state, int64_t position) {
            sampler.load_state(static_cast<const double*>(pointer(state)), position);
          },
          release, py::arg("state"), py::arg("position"));
}
