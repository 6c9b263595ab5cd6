// The CPU kernels without Python: every operator, forward and backward, on every instruction set of this machine,
// over awkward shapes, conditioning and padding of each kind, against plain loops (plain_loops.h) of higher
// precision. Meant for the sanitizer builds: each tensor is its own allocation of its exact size, so that a step
// outside shows, and there are several threads, so that a race does. With an instruction set's name as its argument,
// on that one alone.
//
// The bound is the project's: at most twice the error of the same plain loops in the kernels' own precision, plus
// four units in the last place of the largest value.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "cpu/dispatch.h"
#include "cpu/run.h"
#include "cpu/run_backward.h"
#include "cpu/stream.h"
#include "companding_check.h"
#include "plain_loops.h"
#include "sampler_check.h"

using namespace wavenet;
using cpu::Operator;
using plain::Values;

namespace {

constexpr double kScale = 0.75;  // of the residual

enum Tensor { kX, kConvWeight, kConvBias, kOutWeight, kOutBias, kCond, kA, kZ, kResidual, kSkip, kSaved, kTensors };
const char* const kNames[] = {"x", "conv_weight", "conv_bias", "out_weight", "out_bias", "cond",
                              "a", "z",           "residual",  "skip",       "saved"};

bool is_weight(int tensor) { return kConvWeight <= tensor && tensor <= kOutBias; }

// Values of an operator's inputs and results, and the gradients of them; empty where there is none.
template <class F>
struct Tensors {
  std::array<Values<F>, kTensors> value, gradient;
};

enum class Wanted { all, x, weights };  // of the gradients

struct Case {
  int64_t B, T, R, D, S, K, L, dilation;  // layer l has dilation (l + 1) * dilation
  bool same, biases;
  int64_t cond_time;  // 0: none
  bool last_residual;
  int64_t checkpoint_every;  // 0: nothing saved
  bool transposed_x;         // in memory (B, R, T)
  Wanted wanted;
  Operator op = Operator::block;
  bool fast = true;
  bool keeps_gates = false;
  bool transposed_cond = false;  // in memory (B, L*2D, T)

  // A bare convolution may have any number of channels.
  int64_t C() const { return op == Operator::conv ? 2 * D - 1 : 2 * D; }

  bool takes(int tensor) const {
    switch (op) {
      case Operator::gate: return tensor == kA || tensor == kCond;
      case Operator::conv: return tensor <= kConvBias;
      case Operator::gated_conv: return tensor <= kConvBias || tensor == kCond;
      default: return tensor <= kCond;
    }
  }
  bool gives(int tensor) const {
    switch (op) {
      case Operator::gate: return tensor == kZ;
      case Operator::conv: return tensor == kA;
      case Operator::gated_conv: return tensor == kZ;
      default: return tensor >= kResidual;
    }
  }
  bool wants_gradient(int tensor) const {
    if (op == Operator::gate) return tensor == kA;
    if (!takes(tensor)) return false;
    return wanted == Wanted::all || (wanted == Wanted::x ? tensor == kX : is_weight(tensor));
  }

  int64_t count(int tensor) const {
    const int64_t rows = B * T, kept = checkpoint_every ? (L - 1) / checkpoint_every : 0;
    const int64_t counts[] = {rows * R,
                              L * C() * R * K,
                              biases ? L * C() : 0,
                              L * (R + S) * D,
                              biases ? L * (R + S) : 0,
                              B * cond_time * L * C(),
                              rows * C(),
                              rows * D,
                              last_residual ? rows * R : 0,
                              rows * S,
                              kept * rows * R};
    return counts[tensor];
  }
};

template <class Real>
Tensors<Real> random_inputs(const Case& c, std::mt19937& random) {
  const double conv = 1 / std::sqrt(double(c.R * c.K)), out = 1 / std::sqrt(double(c.D));
  const double scales[] = {1, conv, 0.1, out, 0.1, 0.5, 1, 1, 1, 1, 1};
  Tensors<Real> t;
  for (int i = 0; i < kTensors; ++i) {
    std::normal_distribution<double> normal(0, scales[i]);
    Values<Real>& to = c.takes(i) ? t.value[i] : t.gradient[i];
    if (!c.takes(i) && !c.gives(i)) continue;
    if (i == kSaved) continue;
    to.resize(c.count(i));
    for (Real& v : to) v = static_cast<Real>(normal(random));
  }
  return t;
}

// The results in the type F.
template <class F, class Real>
Tensors<F> plain_results(const Case& c, const Tensors<Real>& inputs) {
  Tensors<F> in, out;
  for (int i = 0; i < kTensors; ++i) {
    in.value[i].assign(inputs.value[i].begin(), inputs.value[i].end());
    in.gradient[i].assign(inputs.gradient[i].begin(), inputs.gradient[i].end());
    if (c.takes(i)) out.gradient[i] = plain::zeros<F>(c.count(i));
  }
  const int64_t rows = c.B * c.T, C = c.C(), O = c.R + c.S;
  const auto at = [](auto& v, int64_t offset) { return v.empty() ? nullptr : v.data() + offset; };
  const auto sizes = [&](int64_t l) {
    const int64_t d = c.dilation * (l + 1);
    return plain::Sizes{c.B, c.T, c.R, c.D, c.K, C, O, d, cpu::left_padding(c.K, d, c.same)};
  };
  const auto weights = [&](int64_t l) {
    auto& v = in.value;
    return plain::Weights<F>{at(v[kConvWeight], l * C * c.R * c.K), at(v[kConvBias], l * C),
                             at(v[kOutWeight], l * O * c.D), at(v[kOutBias], l * O)};
  };
  // The element of cond that is added to element i of layer l's pre-activation.
  const auto cond_of = [&](int64_t l, int64_t i) {
    const int64_t row = i / C, time = c.cond_time == 1 ? 0 : row % c.T;
    return ((row / c.T * c.cond_time + time) * c.L + l) * C + i % C;
  };

  std::vector<Values<F>> x{in.value[kX]}, a, z;  // of each layer
  Values<F> skip = plain::zeros<F>(rows * c.S);
  for (int64_t l = 0; l < c.L; ++l) {
    a.push_back(c.op == Operator::gate ? in.value[kA] : plain::convolve(sizes(l), x[l], weights(l)));
    for (int64_t i = 0; i < rows * C && !in.value[kCond].empty(); ++i) a[l][i] += in.value[kCond][cond_of(l, i)];
    if (c.op == Operator::conv) continue;
    z.push_back(plain::gate(sizes(l), a[l]));
    if (c.op != Operator::block) continue;
    const Values<F> o = plain::project(sizes(l), z[l], weights(l));
    x.push_back(x[l]);
    for (int64_t i = 0; i < rows * O; ++i) {
      const int64_t row = i / O, n = i % O;
      F& residual = x[l + 1][row * c.R + n % c.R];
      if (n < c.R) {
        residual = F(kScale) * (residual + o[i]);
      } else {
        skip[row * c.S + n - c.R] += o[i];
      }
    }
  }
  out.value[kA] = a.back(), out.value[kSkip] = skip;
  if (c.last_residual) out.value[kResidual] = x.back();
  if (!z.empty()) out.value[kZ] = z.back();
  for (int64_t l = c.checkpoint_every; l > 0 && l < c.L; l += c.checkpoint_every) {
    out.value[kSaved].insert(out.value[kSaved].end(), x[l].begin(), x[l].end());
  }

  Values<F> gx = in.gradient[kResidual];
  gx.resize(rows * c.R);
  for (int64_t l = c.L; l-- > 0;) {
    auto& g = out.gradient;
    const plain::WeightGradients<F> gw{at(g[kConvWeight], l * C * c.R * c.K), at(g[kConvBias], l * C),
                                       at(g[kOutWeight], l * O * c.D), at(g[kOutBias], l * O)};
    for (F& v : gx) v *= F(kScale);
    Values<F> ga = in.gradient[kA], gz = in.gradient[kZ];
    if (c.op == Operator::block) {
      Values<F> go(rows * O);
      for (int64_t i = 0; i < rows * O; ++i) {
        const int64_t row = i / O, n = i % O;
        go[i] = n < c.R ? gx[row * c.R + n] : in.gradient[kSkip][row * c.S + n - c.R];
      }
      gz = plain::project_backward(sizes(l), go, z[l], weights(l), gw);
    }
    if (c.op != Operator::conv) ga = plain::gate_backward(sizes(l), gz, a[l]);
    for (int64_t i = 0; i < rows * C && !g[kCond].empty(); ++i) g[kCond][cond_of(l, i)] += ga[i];
    if (c.op == Operator::gate) {
      g[kA] = ga;
    } else {
      plain::convolve_backward(sizes(l), ga, x[l], weights(l), gx, gw);
    }
  }
  if (c.op != Operator::gate) out.gradient[kX] = gx;
  return out;
}

// Activations as they lie in memory: Reals, or the upper halves of floats.
template <class Stored, class Real>
Values<Stored> store(const Values<Real>& from) {
  Values<Stored> to(from.size());
  for (std::size_t i = 0; i < from.size(); ++i) {
    const char* source = reinterpret_cast<const char*>(&from[i]) + sizeof(Real) - sizeof(Stored);
    std::memcpy(&to[i], source, sizeof(Stored));
  }
  return to;
}
template <class Real, class Stored>
Values<Real> load(const Values<Stored>& from) {
  Values<Real> to(from.size(), Real(0));
  for (std::size_t i = 0; i < from.size(); ++i) {
    std::memcpy(reinterpret_cast<char*>(&to[i]) + sizeof(Real) - sizeof(Stored), &from[i], sizeof(Stored));
  }
  return to;
}

// (B, T, channels) becomes (B, channels, T).
template <class F>
Values<F> transposed(const Case& c, const Values<F>& x, int64_t channels) {
  Values<F> to(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const int64_t row = i / channels, b = row / c.T;
    to[(b * channels + i % channels) * c.T + row % c.T] = x[i];
  }
  return to;
}

// A case's tensors in memory: rows for the kernels, and weights. Results are NaN before they are written.
template <class Real, class Stored>
struct Memory {
  Tensors<Stored> rows;
  Tensors<Real> weights;
  Values<Stored> gates;

  Memory(const Case& c, const Tensors<Real>& inputs) {
    const Values<Real> nan(1, std::numeric_limits<Real>::quiet_NaN());
    gates.assign(c.keeps_gates ? c.L * c.B * c.T * c.C() : 0, store<Stored>(nan)[0]);
    for (int i = 0; i < kTensors; ++i) {
      if (is_weight(i)) {
        weights.value[i] = inputs.value[i];
        if (c.wants_gradient(i)) weights.gradient[i].assign(c.count(i), nan[0]);
        continue;
      }
      rows.value[i] = store<Stored>(inputs.value[i]), rows.gradient[i] = store<Stored>(inputs.gradient[i]);
      if (c.gives(i)) rows.value[i].assign(c.count(i), store<Stored>(nan)[0]);
      // The gradient of a stack's input is there even if it is not wanted: those of later layers pass through it.
      const bool passed = c.op == Operator::block && i == kX;
      if (c.wants_gradient(i) || passed) rows.gradient[i].assign(c.count(i), store<Stored>(nan)[0]);
    }
    if (c.transposed_cond) rows.value[kCond] = transposed(c, rows.value[kCond], c.L * c.C());
    if (!c.transposed_x) return;
    if (c.op == Operator::gate) {
      rows.value[kA] = transposed(c, rows.value[kA], c.C());
    } else {
      rows.value[kX] = transposed(c, rows.value[kX], c.R);
    }
  }

  Tensors<Real> results(const Case& c) const {
    Tensors<Real> out;
    for (int i = 0; i < kTensors; ++i) {
      if (c.gives(i)) out.value[i] = load<Real>(rows.value[i]);
      if (c.wants_gradient(i)) out.gradient[i] = is_weight(i) ? weights.gradient[i] : load<Real>(rows.gradient[i]);
    }
    return out;
  }
};

template <class F>
F* pointer(Values<F>& v) {
  return v.empty() ? nullptr : v.data();
}

template <class F>
Rows rows_of(Values<F>& v, int64_t T, int64_t channels) {
  return v.empty() ? Rows{} : Rows{v.data(), T * channels, T == 1 ? 0 : channels};
}

// The first layer, or the only one, without its results.
template <class Real, class Stored>
Layer layer_of(const Case& c, DType dtype, Memory<Real, Stored>& m) {
  Layer l;
  l.dtype = dtype, l.B = c.B, l.T = c.T, l.R = c.R, l.D = c.D, l.S = c.S, l.K = c.K, l.C = c.C();
  l.dilation = c.dilation, l.left = cpu::left_padding(c.K, c.dilation, c.same), l.residual_scale = kScale;
  l.fast = c.fast;
  l.x = rows_of(m.rows.value[kX], c.T, c.R);
  l.cond = rows_of(m.rows.value[kCond], c.cond_time, c.L * c.C());
  if (c.transposed_cond && l.cond.data) l.cond.time_stride = 1, l.cond.channel_stride = c.T;
  l.conv_weight = pointer(m.weights.value[kConvWeight]), l.conv_bias = pointer(m.weights.value[kConvBias]);
  l.out_weight = pointer(m.weights.value[kOutWeight]), l.out_bias = pointer(m.weights.value[kOutBias]);
  if (c.op == Operator::gate) l.a = rows_of(m.rows.value[kA], c.T, c.C());
  if (c.op == Operator::gate && c.transposed_x) l.a.time_stride = 1, l.a.channel_stride = c.T;
  return l;
}

// As cpu.py does with an x that is not in rows. A bare gate reads it as it is.
template <class Real, class Stored>
void bring_in_rows(const Case& c, DType dtype, Memory<Real, Stored>& m, const cpu::Isa& isa, int threads) {
  if (!c.transposed_x || c.op == Operator::gate) return;
  Values<Stored>& x = m.rows.value[kX];
  Values<Stored> rows(x.size());
  cpu::copy_rows(isa, Rows{x.data(), c.T * c.R, 1, c.T}, dtype, c.B, c.T, c.R, rows_of(rows, c.T, c.R), threads);
  x = rows;
}

template <class Real, class Stored>
cpu::Stack stack_of(const Case& c, DType dtype, Memory<Real, Stored>& m) {
  cpu::Stack stack;
  stack.first = layer_of(c, dtype, m), stack.same_padding = c.same;
  for (int64_t n = 1; n <= c.L; ++n) stack.dilations.push_back(c.dilation * n);
  stack.saved = rows_of(m.rows.value[kSaved], c.T, c.R), stack.saved_stride = c.B * c.T * c.R;
  stack.checkpoint_every = std::max<int64_t>(c.checkpoint_every, 1);
  stack.gates = pointer(m.gates);
  return stack;
}

template <class Real, class Stored>
void forward(const Case& c, DType dtype, Memory<Real, Stored>& m, const cpu::Isa& isa, int threads) {
  auto& value = m.rows.value;
  if (c.op != Operator::block) {
    Layer l = layer_of(c, dtype, m);
    (c.op == Operator::conv ? l.a : l.z) = rows_of(value[c.op == Operator::conv ? kA : kZ], c.T,
                                                   c.op == Operator::conv ? c.C() : c.D);
    return cpu::run(isa, c.op, {l}, threads);
  }
  cpu::Stack stack = stack_of(c, dtype, m);
  stack.first.residual = rows_of(value[kResidual], c.T, c.R), stack.first.skip = rows_of(value[kSkip], c.T, c.S);
  // As few buffers as the caller in cpu.py gives.
  const int64_t layer = c.B * c.T * c.R, unsaved = c.L - 1 - c.count(kSaved) / layer;
  Values<Stored> scratch[2] = {Values<Stored>(unsaved > 0 ? layer : 0),
                               Values<Stored>(unsaved > 1 && !c.last_residual ? layer : 0)};
  stack.scratch[0] = rows_of(scratch[0], c.T, c.R);
  stack.scratch[1] = c.last_residual ? stack.first.residual : rows_of(scratch[1], c.T, c.R);
  cpu::run(isa, c.op, cpu::layers_of(isa, stack), threads);
}

template <class Real, class Stored>
void backward(const Case& c, DType dtype, Memory<Real, Stored>& m, const cpu::Isa& isa, int threads) {
  auto &rows = m.rows.gradient, &weights = m.weights.gradient;
  const Rows grad_x = rows_of(rows[kX], c.T, c.R), grad_cond = rows_of(rows[kCond], c.cond_time, c.L * c.C());
  if (c.op == Operator::block) {
    cpu::StackGradient g;
    g.stack = stack_of(c, dtype, m);
    g.grad_residual = rows_of(rows[kResidual], c.T, c.R), g.grad_skip = rows_of(rows[kSkip], c.T, c.S);
    g.grad_x = grad_x, g.want_x = c.wants_gradient(kX), g.grad_cond = grad_cond;
    g.conv_weight = pointer(weights[kConvWeight]), g.conv_bias = pointer(weights[kConvBias]);
    g.out_weight = pointer(weights[kOutWeight]), g.out_bias = pointer(weights[kOutBias]);
    return cpu::run_backward(isa, c.op, cpu::gradients_of(isa, g), threads);
  }
  Gradient g;
  g.layer = layer_of(c, dtype, m);
  g.grad_z = rows_of(rows[kZ], c.T, c.D), g.grad_a = rows_of(rows[kA], c.T, c.C()), g.grad_x = grad_x;
  if (c.op == Operator::gated_conv) (grad_cond.time_stride == 0 ? g.cond_sum : g.grad_a) = grad_cond;
  g.conv_weight = pointer(weights[kConvWeight]), g.conv_bias = pointer(weights[kConvBias]);
  cpu::run_backward(isa, c.op, {g}, threads);
}

template <class Stored, class Real>
Tensors<Real> kernel_results(const Case& c, DType dtype, const Tensors<Real>& inputs, const cpu::Isa& isa,
                             int threads) {
  Memory<Real, Stored> memory(c, inputs);
  bring_in_rows(c, dtype, memory, isa, threads);
  forward(c, dtype, memory, isa, threads);
  Tensors<Real> results = memory.results(c);
  // The gradients of a stack need the inputs of all layers.
  Case all_saved = c;
  all_saved.checkpoint_every = 1;
  Memory<Real, Stored> again(all_saved, inputs);
  bring_in_rows(all_saved, dtype, again, isa, threads);
  forward(all_saved, dtype, again, isa, threads);
  backward(all_saved, dtype, again, isa, threads);
  results.gradient = again.results(all_saved).gradient;
  return results;
}

// What a stack gives when it is fed chunk by chunk.
template <class Real>
Tensors<Real> stream_results(Case c, DType dtype, const Tensors<Real>& inputs, const cpu::Isa& isa, int threads) {
  c.transposed_cond = false;  // a stream takes it in rows
  Memory<Real, Real> m(c, inputs);
  const cpu::Stack stack = stack_of(c, dtype, m);
  Rows x = stack.first.x;
  if (c.transposed_x) x.time_stride = 1, x.channel_stride = c.T;  // a stream copies it anyway
  auto& value = m.rows.value;
  std::vector<Real> unwanted(c.last_residual ? 0 : c.B * c.T * c.R);  // a stream always makes it
  const Rows residual = rows_of(c.last_residual ? value[kResidual] : unwanted, c.T, c.R);
  const Rows skip = rows_of(value[kSkip], c.T, c.S);
  const auto from = [](Rows rows, int64_t t) {
    if (rows.data) rows.data = static_cast<Real*>(rows.data) + t * rows.time_stride;
    return rows;
  };
  cpu::Stream stream(isa, stack.first, stack.dilations);
  const int64_t sizes[] = {1, 5, 64, 2000};
  for (int64_t t = 0, n, i = 0; t < c.T; t += n) {
    n = std::min(sizes[i++ % 4], c.T - t);
    stream.step(n, from(x, t), from(stack.first.cond, t), from(residual, t), from(skip, t), threads);
  }
  return m.results(c);
}

std::vector<const cpu::Isa*> isas;  // to check
int failures = 0;

void expect(bool good, const char* what, const char* tensor, DType dtype, const cpu::Isa& isa, const Case& c) {
  if (good) return;
  ++failures;
  const char* const operators[] = {"conv", "gate", "gated_conv", "block"};
  const char* const dtypes[] = {"float32", "bfloat16", "float16", "float64"};
  std::printf("%s%s of %s, %s, %s: B=%ld T=%ld R=%ld D=%ld S=%ld K=%ld L=%ld dilation=%ld same=%d\n", what, tensor,
              operators[int(c.op)], dtypes[int(dtype)], isa.name, long(c.B), long(c.T), long(c.R), long(c.D), long(c.S),
              long(c.K), long(c.L), long(c.dilation), c.same);
}

template <class F, class Exact>
double error(const Values<F>& got, const Values<Exact>& exact) {
  double worst = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    const double e = static_cast<double>(std::fabs(Exact(got[i]) - exact[i]));
    if (std::isnan(e)) return e;
    worst = std::fmax(worst, e);
  }
  return worst;
}

template <class F, class Exact>
bool obeys_rule(const Values<F>& got, const Values<F>& yardstick, const Values<Exact>& exact) {
  if (got.size() != exact.size()) return false;
  double largest = 0;
  for (Exact v : exact) largest = std::fmax(largest, static_cast<double>(std::fabs(v)));
  return error(got, exact) <= 2 * error(yardstick, exact) + 4 * std::numeric_limits<F>::epsilon() * largest;
}

// Calls check(what, name, values of one, of other, ...) for every tensor that a case has a result for.
template <class Check, class... T>
void each_result(const Case& c, const Check& check, const T&... tensors) {
  for (int i = 0; i < kTensors; ++i) {
    if (c.gives(i)) check("", kNames[i], tensors.value[i]...);
    if (c.wants_gradient(i)) check("gradient of ", kNames[i], tensors.gradient[i]...);
  }
}

template <class F>
bool same_bits(const Values<F>& a, const Values<F>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(F)) == 0);
}

template <class Stored, class Real>
void check_threads(const Case& c, DType dtype, const Tensors<Real>& in, const Tensors<Real>& one, const cpu::Isa& isa) {
  each_result(
      c,
      [&](const char*, const char* name, const Values<Real>& a, const Values<Real>& b) {
        expect(same_bits(a, b), "depends on the number of threads: ", name, dtype, isa, c);
      },
      one, kernel_results<Stored>(c, dtype, in, isa, 3));
}

template <class Stored, class Real>
void check_kept_gates(Case c, DType dtype, const Tensors<Real>& in, const Tensors<Real>& recomputed,
                      const cpu::Isa& isa) {
  if (c.op != Operator::block) return;
  c.keeps_gates = true;
  each_result(
      c,
      [&](const char*, const char* name, const Values<Real>& a, const Values<Real>& b) {
        expect(same_bits(a, b), "depends on whether gates are kept: ", name, dtype, isa, c);
      },
      recomputed, kernel_results<Stored>(c, dtype, in, isa, 1));
}

template <class Real, class Exact>
void check(const Case& c, DType dtype, std::mt19937& random) {
  const auto in = random_inputs<Real>(c, random);
  const auto exact = plain_results<Exact>(c, in);
  const auto yardstick = plain_results<Real>(c, in);
  for (const cpu::Isa* isa : isas) {
    const auto got = kernel_results<Real>(c, dtype, in, *isa, 1);
    each_result(
        c,
        [&](const char* what, const char* name, const auto& values, const auto& plain, const auto& truth) {
          expect(obeys_rule(values, plain, truth), what, name, dtype, *isa, c);
        },
        got, yardstick, exact);
    check_threads<Real>(c, dtype, in, got, *isa);
    check_kept_gates<Real>(c, dtype, in, got, *isa);
    if (c.op != Operator::block || c.same) continue;
    const auto one = stream_results(c, dtype, in, *isa, 1), three = stream_results(c, dtype, in, *isa, 3);
    for (int i : {kResidual, kSkip}) {
      expect(obeys_rule(one.value[i], yardstick.value[i], exact.value[i]), "streamed ", kNames[i], dtype, *isa, c);
      expect(same_bits(one.value[i], three.value[i]), "streamed, depends on the number of threads: ", kNames[i], dtype,
             *isa, c);
    }
  }
}

// That bfloat16 is exact is for the tests from Python to show.
void check_bfloat16(Case c, std::mt19937& random) {
  const auto in = random_inputs<float>(c, random);
  const bool fast = c.fast;
  for (const cpu::Isa* isa : isas) {
    c.fast = fast && isa->of(DType::bfloat16).fast;
    const auto got = kernel_results<uint16_t>(c, DType::bfloat16, in, *isa, 1);
    each_result(
        c,
        [&](const char* what, const char* name, const Values<float>& values) {
          const bool finite = std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
          expect(finite, what, name, DType::bfloat16, *isa, c);
        },
        got);
    check_threads<uint16_t>(c, DType::bfloat16, in, got, *isa);
    check_kept_gates<uint16_t>(c, DType::bfloat16, in, got, *isa);
  }
}

}  // namespace

int main(int count, char** arguments) {
  isas = cpu::usable_isas();
  if (count > 1) isas = {&cpu::find_isa(arguments[1])};
  const bool causal = false, same = true;
  const Wanted all = Wanted::all, x = Wanted::x, weights = Wanted::weights;
  //   B  T     R   D   S   K  L  dilation  same  biases cond last_residual checkpoint transposed_x wanted
  const Case cases[] = {
      {40, 1, 1, 1, 1, 1, 1, 1, causal, true, 0, true, 0, false, all},
      {2, 37, 5, 3, 7, 2, 4, 3, causal, true, 37, true, 1, true, all},
      {1, 130, 16, 16, 0, 3, 3, 50, same, false, 1, true, 2, false, all},
      {1, 205, 17, 33, 18, 4, 3, 100, causal, true, 1, false, 2, true, all},
      {1, 40, 8, 8, 8, 2, 3, 1, causal, true, 0, false, 2, false, x},
      {3, 9, 31, 8, 65, 3, 2, 20, same, true, 9, false, 0, true, weights},
      {1, 110, 64, 64, 128, 2, 2, 16, causal, true, 0, true, 1, false, all},
      // More rows than one chunk of backward has, and work for three threads.
      {1, 4000, 3, 3, 3, 1, 2, 1, causal, true, 0, true, 0, false, all},
      {1, 4001, 3, 3, 3, 2, 2, 1, causal, true, 1, true, 0, true, all},
      {1, 6000, 3, 3, 3, 2, 2, 300, causal, true, 0, true, 0, false, x},
      {1, 6000, 3, 3, 3, 3, 2, 700, same, true, 0, true, 0, false, x},
      {2, 2100, 3, 3, 3, 2, 2, 700, causal, true, 2100, true, 0, false, all},
      {1, 4003, 3, 3, 3, 3, 2, 5, same, true, 0, true, 0, false, x},
      {3, 1500, 3, 3, 3, 3, 2, 600, same, true, 1, true, 0, false, all},
      {1, 3999, 3, 3, 3, 3, 2, 1300, causal, true, 0, false, 0, false, all},
      {9, 500, 3, 3, 3, 4, 2, 37, causal, true, 1, true, 0, false, weights},
      {9, 500, 3, 3, 3, 3, 2, 249, same, false, 500, true, 0, true, all},
  };
  std::mt19937 random(0);
  for (Case c : cases) {
    for (Operator op : {Operator::block, Operator::gated_conv, Operator::conv, Operator::gate}) {
      c.op = op;
      if (op != Operator::block) c.L = 1;
      if (op == Operator::gate) c.K = 1;
      c.transposed_cond = c.transposed_x && c.cond_time > 1;
      for (bool fast : {true, false}) {
        c.fast = fast;
        check<float, double>(c, DType::float32, random);
      }
      check<double, long double>(c, DType::float64, random);
      c.fast = true;
      check_bfloat16(c, random);
    }
  }
  for (const cpu::Isa* isa : isas) {
    for (bool half : {false, true}) {
      if (samples_alike_on_threads(*isa, half)) continue;
      ++failures;
      std::printf("%s: the sampling loop on threads%s\n", isa->name, half ? ", bfloat16" : "");
    }
  }
  for (const cpu::Isa* isa : isas) {
    const double error = companding_error(*isa);
    if (error < 4) continue;
    ++failures;
    std::printf("%s: companded samples are off by %.1f roundings\n", isa->name, error);
  }
  std::printf(failures ? "%d failures\n" : "all good\n", failures);
  return failures ? 1 : 0;
}
