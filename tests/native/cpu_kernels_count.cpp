// The CPU kernels without Python, one pass of one stack after another on one thread, for programs that look from
// outside: callgrind counts the instructions of `counted`, perf samples it (benchmarks/compiled/native.py).
//
//   cpu_kernels_count TIMES CASE...      CASE = pass:dtype:fast or plain:padding:R:D:S:K:T:dilation,dilation,...
//
// pack: the weights of a stream; forward: nothing saved; backward: of a forward pass before it, which for
// backward-of-gates kept what goes into the gates; backward-of-x: no weight's gradient; step: both; stream: T rows more;
// in-time: T steps more of layers without gates, R and S channels, as an amplifier's (csrc/runtime/amplifier.h). Built of
// one instruction set, WAVENET_ISA.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/run.h"
#include "cpu/run_backward.h"
#include "cpu/stream.h"

#define WAVENET_JOIN_(a, b, c) a##b##c
#define WAVENET_JOIN(a, b, c) WAVENET_JOIN_(a, b, c)
#define WAVENET_TEXT_(a) #a
#define WAVENET_TEXT(a) WAVENET_TEXT_(a)

using namespace wavenet;
using cpu::Operator;

// What is counted: by this name, so it has C's, and it must stay a call.
extern "C" __attribute__((noinline)) void counted(const std::function<void()>& work) {
  work();
  asm volatile("");
}

namespace {

const cpu::Isa kIsa{WAVENET_TEXT(WAVENET_ISA), &cpu::WAVENET_JOIN(kernels_, WAVENET_ISA, _float), nullptr};

struct Case {
  std::string pass, dtype, fast, padding;
  int64_t R, D, S, K, T;
  std::vector<int64_t> dilations;

  explicit Case(const std::string& text) {
    std::istringstream in(text);
    const auto word = [&] {
      std::string found;
      if (!std::getline(in, found, ':')) throw std::invalid_argument("not a case: " + text);
      return found;
    };
    pass = word(), dtype = word(), fast = word(), padding = word();
    for (int64_t* size : {&R, &D, &S, &K, &T}) *size = std::stoll(word());
    std::istringstream list(word());
    for (std::string d; std::getline(list, d, ',');) dilations.push_back(std::stoll(d));
  }
};

// Numbers between -scale and scale: of floats, or of the upper halves of such.
class Tensor {
 public:
  Tensor(int64_t count, float scale, bool halves = false) : bytes_(count * (halves ? 2 : 4)) {
    uint32_t state = 1;
    for (int64_t i = 0; i < count; ++i) {
      state = state * 1664525u + 1013904223u;
      const float value = scale * (static_cast<float>(state >> 8) / (1 << 23) - 1.0f);
      const char* from = reinterpret_cast<const char*>(&value);
      std::memcpy(&bytes_[i * (halves ? 2 : 4)], from + (halves ? 2 : 0), halves ? 2 : 4);
    }
  }
  void* data() { return bytes_.data(); }
  Rows rows(int64_t T, int64_t channels) { return {data(), T * channels, channels}; }

 private:
  std::vector<char> bytes_;
};

void run_in_time(const Case& c, int times) {
  const cpu::TimeKernels& kernels = *kIsa.of_float->in_time;
  const int64_t history = (c.K - 1) * c.dilations.back(), stride = history + c.T + kernels.overrun;
  const auto panels = [](int64_t rows) { return (rows + cpu::kTimePanel - 1) / cpu::kTimePanel * cpu::kTimePanel; };
  const auto signals = [&](Tensor& of, int64_t rows) {
    return cpu::Signals{static_cast<float*>(of.data()) + history, stride, rows};
  };
  Tensor x(panels(c.R) * stride, 1.0f), made(panels(c.R) * stride, 1.0f), z(panels(c.S) * stride, 1.0f);
  Tensor sums(panels(c.S) * stride, 1.0f);
  Tensor conv(panels(c.S) * (1 + c.K * c.R), 0.1f), out(panels(c.R) * (1 + c.S), 0.1f);
  const cpu::Signals to = signals(z, c.S), sum = signals(sums, c.S);
  std::vector<cpu::Signals> taps(c.K, signals(x, c.R));
  const auto layers = [&] {
    for (const int64_t dilation : c.dilations) {
      for (int64_t k = 0; k < c.K; ++k) taps[k].data = taps.back().data - (c.K - 1 - k) * dilation;
      const int64_t floats = (1 + c.K * c.R) * cpu::kTimePanel;
      kernels.product(static_cast<const float*>(conv.data()), floats, taps.data(), c.K, {}, to, c.T);
      kernels.activate(to, nullptr, sum.data, c.T);
      kernels.product(static_cast<const float*>(out.data()), (1 + c.S) * cpu::kTimePanel, &to, 1, taps.back(),
                      signals(made, c.R), c.T);
    }
  };
  for (int i = 0; i < times; ++i) counted(layers);
}

void run(const Case& c, int times) {
  if (c.pass == "in-time") return run_in_time(c, times);
  const int64_t L = static_cast<int64_t>(c.dilations.size()), C = 2 * c.D, out = c.R + c.S, rows = c.T;
  const bool halves = c.dtype == "bfloat16";
  const auto weights = [](int64_t count, float scale) { return Tensor(count, scale); };
  const auto activations = [&](int64_t channels) { return Tensor(rows * channels, 1.0f, halves); };
  Tensor conv_weight = weights(L * C * c.R * c.K, 0.1f), conv_bias = weights(L * C, 0.1f);
  Tensor out_weight = weights(L * out * c.D, 0.1f), out_bias = weights(L * out, 0.1f);
  Tensor x = activations(c.R), residual = activations(c.R), skip = activations(c.S), other = activations(c.R);
  Tensor saved(std::max<int64_t>(L - 1, 1) * rows * c.R, 1.0f, halves);

  cpu::Stack stack;
  Layer& l = stack.first;
  l.dtype = halves ? DType::bfloat16 : DType::float32;
  l.B = 1, l.T = c.T, l.R = c.R, l.D = c.D, l.S = c.S, l.K = c.K, l.C = C, l.fast = c.fast == "fast";
  l.conv_weight = conv_weight.data(), l.conv_bias = conv_bias.data();
  l.out_weight = out_weight.data(), l.out_bias = out_bias.data();
  stack.dilations = c.dilations, stack.same_padding = c.padding == "same";
  l.dilation = c.dilations.front(), l.left = cpu::left_padding(c.K, l.dilation, stack.same_padding);
  l.x = x.rows(c.T, c.R), l.residual = residual.rows(c.T, c.R), l.skip = skip.rows(c.T, c.S);
  stack.scratch[0] = other.rows(c.T, c.R), stack.scratch[1] = l.residual;

  const auto repeat = [&](const std::function<void()>& work) {
    for (int i = 0; i < times; ++i) counted(work);
  };
  if (c.pass == "forward") return repeat([&] { cpu::run(kIsa, Operator::block, cpu::layers_of(kIsa, stack), 1); });
  if (c.pass == "pack") return repeat([&] { cpu::Stream(kIsa, l, c.dilations); });
  if (c.pass == "stream") {
    cpu::Stream stream(kIsa, l, c.dilations);
    const auto step = [&] { stream.step(c.T, l.x, {}, l.residual, l.skip, 1); };
    step();  // the first of a size allocates
    return repeat(step);
  }

  stack.saved = saved.rows(c.T, c.R), stack.saved_stride = c.T * c.R;
  Tensor gates(c.pass == "backward-of-gates" ? L * rows * C : 0, 1.0f, halves);
  if (c.pass == "backward-of-gates") stack.gates = gates.data();
  Tensor grad_residual = activations(c.R), grad_skip = activations(c.S), grad_x = activations(c.R);
  Tensor grad_conv_weight = conv_weight, grad_conv_bias = conv_bias, grad_out_weight = out_weight;
  Tensor grad_out_bias = out_bias;
  cpu::StackGradient g;
  g.stack = stack;
  g.grad_residual = grad_residual.rows(c.T, c.R), g.grad_skip = grad_skip.rows(c.T, c.S);
  g.grad_x = grad_x.rows(c.T, c.R);
  if (c.pass != "backward-of-x") {
    g.conv_weight = grad_conv_weight.data(), g.conv_bias = grad_conv_bias.data();
    g.out_weight = grad_out_weight.data(), g.out_bias = grad_out_bias.data();
  }
  const auto forward = [&] { cpu::run(kIsa, Operator::block, cpu::layers_of(kIsa, stack), 1); };
  const auto backward = [&] { cpu::run_backward(kIsa, Operator::block, cpu::gradients_of(kIsa, g), 1); };
  if (c.pass == "step") return repeat([&] { forward(), backward(); });
  if (c.pass.rfind("backward", 0) != 0) throw std::invalid_argument("no such pass: " + c.pass);
  forward();
  repeat(backward);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    for (int i = 2; i < argc; ++i) run(Case(argv[i]), std::atoi(argv[1]));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
