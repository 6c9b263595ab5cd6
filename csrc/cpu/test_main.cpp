// The CPU kernels without Python: every instruction set of this machine, awkward shapes, conditioning and
// padding of each kind, against the same layer written out in double. Meant for the sanitizer build: each
// tensor is its own allocation of its exact size, so that a step outside shows.
//
// The bound is the project's: at most twice the error of the same plain loops in float, plus four units in the
// last place of the largest value.
#include <cmath>
#include <cstdio>
#include <limits>
#include <random>
#include <vector>

#include "cpu/dispatch.h"
#include "cpu/run.h"
#include "cpu/run_backward.h"

using namespace wavenet;

namespace {

struct Case {
  int64_t B, T, R, D, S, K, L, dilation;
  bool same, biases;
  int64_t cond_time;  // 0: none
  bool last_residual;
  int64_t checkpoint_every;  // 0: nothing saved
};

using Floats = std::vector<float>;

Floats random_floats(std::mt19937& random, int64_t count, float scale) {
  std::normal_distribution<float> normal(0, scale);
  Floats v(static_cast<size_t>(count));
  for (float& x : v) x = normal(random);
  return v;
}

struct Tensors {
  Floats x, conv_weight, conv_bias, out_weight, out_bias, cond;

  Tensors(const Case& c, std::mt19937& random)
      : x(random_floats(random, c.B * c.T * c.R, 1)),
        conv_weight(random_floats(random, c.L * 2 * c.D * c.R * c.K, 1 / std::sqrt(float(c.R * c.K)))),
        conv_bias(random_floats(random, c.biases ? c.L * 2 * c.D : 0, 0.1f)),
        out_weight(random_floats(random, c.L * (c.R + c.S) * c.D, 1 / std::sqrt(float(c.D)))),
        out_bias(random_floats(random, c.biases ? c.L * (c.R + c.S) : 0, 0.1f)),
        cond(random_floats(random, c.B * c.cond_time * c.L * 2 * c.D, 0.5f)) {}
};

struct Outputs {
  Floats residual, skip, saved;
};

// The stack as design and reference have it, in the type F.
template <class F>
void plain(const Case& c, const Tensors& in, std::vector<F>& residual, std::vector<F>& skip) {
  residual.assign(in.x.begin(), in.x.end());
  skip.assign(static_cast<size_t>(c.B * c.T * c.S), F(0));
  std::vector<F> a(2 * c.D), z(c.D);
  for (int64_t l = 0; l < c.L; ++l) {
    const std::vector<F> x = residual;
    const int64_t d = c.dilation * (l + 1), left = cpu::left_padding(c.K, d, c.same);
    for (int64_t b = 0; b < c.B; ++b) {
      for (int64_t t = 0; t < c.T; ++t) {
        for (int64_t n = 0; n < 2 * c.D; ++n) {
          F sum = c.biases ? F(in.conv_bias[l * 2 * c.D + n]) : F(0);
          for (int64_t k = 0; k < c.K; ++k) {
            const int64_t from = t - left + k * d;
            if (from < 0 || from >= c.T) continue;
            for (int64_t r = 0; r < c.R; ++r) {
              sum += F(in.conv_weight[((l * 2 * c.D + n) * c.R + r) * c.K + k]) * x[(b * c.T + from) * c.R + r];
            }
          }
          if (c.cond_time) {
            const int64_t ct = c.cond_time == 1 ? 0 : t;
            sum += F(in.cond[(b * c.cond_time + ct) * c.L * 2 * c.D + l * 2 * c.D + n]);
          }
          a[n] = sum;
        }
        for (int64_t n = 0; n < c.D; ++n) z[n] = std::tanh(a[n]) * (F(1) / (F(1) + std::exp(-a[c.D + n])));
        for (int64_t n = 0; n < c.R + c.S; ++n) {
          F sum = c.biases ? F(in.out_bias[l * (c.R + c.S) + n]) : F(0);
          for (int64_t m = 0; m < c.D; ++m) sum += F(in.out_weight[(l * (c.R + c.S) + n) * c.D + m]) * z[m];
          if (n < c.R) {
            F& to = residual[(b * c.T + t) * c.R + n];
            to = F(0.7f) * (to + sum);
          } else {
            skip[(b * c.T + t) * c.S + n - c.R] += sum;
          }
        }
      }
    }
  }
}

Rows rows(Floats& v, int64_t T, int64_t C) { return v.empty() ? Rows{} : Rows{v.data(), T * C, C}; }

Outputs kernels(const Case& c, Tensors& in, const cpu::Isa& isa, int threads) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto unwritten = [&](int64_t count) { return Floats(static_cast<size_t>(count), nan); };
  const int64_t kept = c.checkpoint_every ? (c.L - 1) / c.checkpoint_every : 0, layer = c.B * c.T * c.R;
  Outputs out{unwritten(c.last_residual ? layer : 0), unwritten(c.B * c.T * c.S), unwritten(kept * layer)};
  // As few buffers as the caller in cpu.py gives.
  const int64_t unsaved = c.L - 1 - kept;
  Floats scratch[2] = {unwritten(unsaved > 0 ? layer : 0), unwritten(unsaved > 1 && !c.last_residual ? layer : 0)};

  cpu::Stack stack;
  Layer& l = stack.first;
  l.B = c.B, l.T = c.T, l.R = c.R, l.D = c.D, l.S = c.S, l.K = c.K, l.C = 2 * c.D;
  l.residual_scale = 0.7f;
  l.x = rows(in.x, c.T, c.R), l.cond = rows(in.cond, c.cond_time, c.L * 2 * c.D);
  if (c.cond_time == 1) l.cond.time_stride = 0;
  l.conv_weight = in.conv_weight.data(), l.out_weight = in.out_weight.data();
  if (c.biases) l.conv_bias = in.conv_bias.data(), l.out_bias = in.out_bias.data();
  l.residual = rows(out.residual, c.T, c.R), l.skip = rows(out.skip, c.T, c.S);
  stack.same_padding = c.same;
  for (int64_t n = 1; n <= c.L; ++n) stack.dilations.push_back(c.dilation * n);
  stack.scratch[0] = rows(scratch[0], c.T, c.R);
  stack.scratch[1] = c.last_residual ? l.residual : rows(scratch[1], c.T, c.R);
  stack.saved = rows(out.saved, c.T, c.R), stack.saved_stride = layer;
  if (c.checkpoint_every) stack.checkpoint_every = c.checkpoint_every;
  cpu::run(isa, cpu::Operator::block, cpu::layers_of(stack), threads);
  return out;
}

// Gradients of everything for upstream gradients of ones; conditioning's as the case has it.
std::vector<Floats> gradients(Case c, Tensors& in, const cpu::Isa& isa, int threads) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  c.checkpoint_every = 1;
  Outputs forward = kernels(c, in, isa, threads);
  const int64_t layer = c.B * c.T * c.R, gated = c.L * 2 * c.D;
  Floats ones_residual(forward.residual.size(), 1.0f), ones_skip(forward.skip.size(), 1.0f);
  std::vector<Floats> out = {Floats(layer, nan),
                             Floats(in.conv_weight.size(), nan),
                             Floats(in.conv_bias.size(), nan),
                             Floats(in.out_weight.size(), nan),
                             Floats(in.out_bias.size(), nan),
                             Floats(in.cond.size(), nan)};
  Floats grad_a(c.cond_time > 1 ? 0 : c.B * c.T * 2 * c.D, nan);

  cpu::StackGradient g;
  Layer& l = g.stack.first;
  l.B = c.B, l.T = c.T, l.R = c.R, l.D = c.D, l.S = c.S, l.K = c.K, l.C = 2 * c.D;
  l.residual_scale = 0.7f;
  l.x = rows(in.x, c.T, c.R), l.cond = rows(in.cond, c.cond_time, gated);
  l.conv_weight = in.conv_weight.data(), l.out_weight = in.out_weight.data();
  if (c.biases) l.conv_bias = in.conv_bias.data(), l.out_bias = in.out_bias.data();
  g.stack.same_padding = c.same;
  for (int64_t n = 1; n <= c.L; ++n) g.stack.dilations.push_back(c.dilation * n);
  g.stack.saved = rows(forward.saved, c.T, c.R), g.stack.saved_stride = layer;
  g.grad_residual = rows(ones_residual, c.T, c.R), g.grad_skip = rows(ones_skip, c.T, c.S);
  g.grad_x = rows(out[0], c.T, c.R), g.grad_a = rows(grad_a, c.T, 2 * c.D);
  g.grad_cond = rows(out[5], c.cond_time, gated);
  if (c.cond_time == 1) l.cond.time_stride = g.grad_cond.time_stride = 0;
  g.conv_weight = out[1].data(), g.out_weight = out[3].data();
  if (c.biases) g.conv_bias = out[2].data(), g.out_bias = out[4].data();
  cpu::run_backward(isa, g, threads);
  return out;
}

double largest(const std::vector<double>& v) {
  double m = 0;
  for (double x : v) m = std::fmax(m, std::fabs(x));
  return m;
}

template <class F>
double error(const std::vector<F>& got, const std::vector<double>& exact) {
  double worst = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    const double e = std::fabs(double(got[i]) - exact[i]);
    if (!(e <= worst)) worst = e;  // NaN counts as worst
  }
  return worst;
}

int failures = 0;

void expect(bool good, const char* what, const cpu::Isa& isa, const Case& c) {
  if (good) return;
  ++failures;
  std::printf("%s, %s: B=%ld T=%ld R=%ld D=%ld S=%ld K=%ld L=%ld dilation=%ld same=%d\n", what, isa.name, long(c.B),
              long(c.T), long(c.R), long(c.D), long(c.S), long(c.K), long(c.L), long(c.dilation), c.same);
}

void within(const Floats& got, const Floats& plain_float, const std::vector<double>& exact, const char* what,
            const cpu::Isa& isa, const Case& c) {
  const double bound = 2 * error(plain_float, exact) + 4 * std::ldexp(largest(exact), -23);
  expect(error(got, exact) <= bound, what, isa, c);
}

}  // namespace

int main() {
  //                      B  T    R   D   S   K  L  d    same   biases cond last_residual checkpoint
  const Case cases[] = {{40, 1, 1, 1, 1, 1, 1, 1, false, true, 0, true, 0},
                        {2, 37, 5, 3, 7, 2, 4, 3, false, true, 37, true, 1},
                        {1, 130, 16, 16, 0, 3, 3, 50, true, false, 1, true, 2},
                        {1, 205, 17, 33, 18, 4, 3, 100, false, true, 1, false, 2},
                        {1, 40, 8, 8, 8, 2, 3, 1, false, true, 0, false, 2},
                        {3, 9, 31, 8, 65, 3, 2, 20, true, true, 9, false, 0},
                        {1, 110, 64, 64, 128, 2, 2, 16, false, true, 0, true, 1}};
  std::mt19937 random(0);
  for (const Case& c : cases) {
    Tensors in(c, random);
    std::vector<double> residual, skip;
    Floats float_residual, float_skip;
    plain(c, in, residual, skip);
    plain(c, in, float_residual, float_skip);
    for (const cpu::Isa* isa : cpu::usable_isas()) {
      const Outputs one = kernels(c, in, *isa, 1), three = kernels(c, in, *isa, 3);
      if (c.last_residual) within(one.residual, float_residual, residual, "residual", *isa, c);
      within(one.skip, float_skip, skip, "skip", *isa, c);
      for (float v : one.saved) expect(std::isfinite(v), "saved input", *isa, c);
      const bool equal = one.residual == three.residual && one.skip == three.skip && one.saved == three.saved;
      expect(equal, "results depend on the number of threads", *isa, c);

      // That gradients are right is for the tests from Python to show; here, that they are all written.
      const std::vector<Floats> grads = gradients(c, in, *isa, 1);
      for (const Floats& grad : grads) {
        for (float v : grad) expect(std::isfinite(v), "gradient", *isa, c);
      }
      expect(grads == gradients(c, in, *isa, 3), "gradients depend on the number of threads", *isa, c);
    }
  }
  std::printf(failures ? "%d failures\n" : "all good\n", failures);
  return failures ? 1 : 0;
}
