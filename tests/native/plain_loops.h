// WaveNet layers and their gradients in plain loops, in the type F: what the kernels are checked against.
// Tensors are (B, T, C) rows; the formulas are those of layer.h, gradients written out by the chain rule.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace wavenet::plain {

template <class F>
using Values = std::vector<F>;

template <class F>
Values<F> zeros(int64_t count) {
  return Values<F>(static_cast<std::size_t>(count), F(0));
}

// Of one layer. C channels of the convolution, O of the 1x1s.
struct Sizes {
  int64_t B, T, R, D, K, C, O, dilation, left;

  int64_t rows() const { return B * T; }

  // Calls work(row of the output, row of the input, tap) wherever a tap falls on a row that exists.
  template <class Work>
  void each_tap(const Work& work) const {
    for (int64_t b = 0; b < B; ++b) {
      for (int64_t t = 0; t < T; ++t) {
        for (int64_t k = 0; k < K; ++k) {
          const int64_t from = t - left + k * dilation;
          if (from >= 0 && from < T) work(b * T + t, b * T + from, k);
        }
      }
    }
  }
};

// Weights as the layer has them, contiguous; no bias: null.
template <class F>
struct Weights {
  const F *conv, *conv_bias, *out, *out_bias;
};
template <class F>
struct WeightGradients {
  F *conv, *conv_bias, *out, *out_bias;
};

// a = sum_k W_k x[t - left + k d] + b
template <class F>
Values<F> convolve(const Sizes& s, const Values<F>& x, const Weights<F>& w) {
  Values<F> a = zeros<F>(s.rows() * s.C);
  for (int64_t i = 0; i < s.rows() * s.C && w.conv_bias; ++i) a[i] = w.conv_bias[i % s.C];
  s.each_tap([&](int64_t to, int64_t from, int64_t k) {
    for (int64_t n = 0; n < s.C; ++n) {
      for (int64_t r = 0; r < s.R; ++r) a[to * s.C + n] += w.conv[(n * s.R + r) * s.K + k] * x[from * s.R + r];
    }
  });
  return a;
}

// gW_k += ga[t] x[t - left + k d]^T;  gb += ga;  adds W_k^T ga[t] to gx[t - left + k d].
template <class F>
void convolve_backward(const Sizes& s, const Values<F>& ga, const Values<F>& x, const Weights<F>& w, Values<F>& gx,
                       const WeightGradients<F>& gw) {
  for (int64_t i = 0; i < s.rows() * s.C && gw.conv_bias; ++i) gw.conv_bias[i % s.C] += ga[i];
  s.each_tap([&](int64_t to, int64_t from, int64_t k) {
    for (int64_t n = 0; n < s.C; ++n) {
      for (int64_t r = 0; r < s.R; ++r) {
        gw.conv[(n * s.R + r) * s.K + k] += ga[to * s.C + n] * x[from * s.R + r];
        gx[from * s.R + r] += w.conv[(n * s.R + r) * s.K + k] * ga[to * s.C + n];
      }
    }
  });
}

template <class F>
F sigmoid(F x) {
  return F(1) / (F(1) + std::exp(-x));
}

// z = tanh(a_filter) sigmoid(a_gate)
template <class F>
Values<F> gate(const Sizes& s, const Values<F>& a) {
  Values<F> z = zeros<F>(s.rows() * s.D);
  for (int64_t i = 0; i < s.rows() * s.D; ++i) {
    const F* row = &a[i / s.D * 2 * s.D];
    z[i] = std::tanh(row[i % s.D]) * sigmoid(row[s.D + i % s.D]);
  }
  return z;
}

template <class F>
Values<F> gate_backward(const Sizes& s, const Values<F>& gz, const Values<F>& a) {
  Values<F> ga = zeros<F>(s.rows() * 2 * s.D);
  for (int64_t i = 0; i < s.rows() * s.D; ++i) {
    const int64_t filter = i / s.D * 2 * s.D + i % s.D, gate = filter + s.D;
    const F tanh = std::tanh(a[filter]), open = sigmoid(a[gate]);
    ga[filter] = gz[i] * open * (F(1) - tanh * tanh);
    ga[gate] = gz[i] * tanh * open * (F(1) - open);
  }
  return ga;
}

// o = V z + v
template <class F>
Values<F> project(const Sizes& s, const Values<F>& z, const Weights<F>& w) {
  Values<F> o = zeros<F>(s.rows() * s.O);
  for (int64_t i = 0; i < s.rows() * s.O; ++i) {
    const int64_t n = i % s.O;
    F sum = w.out_bias ? w.out_bias[n] : F(0);
    for (int64_t m = 0; m < s.D; ++m) sum += w.out[n * s.D + m] * z[i / s.O * s.D + m];
    o[i] = sum;
  }
  return o;
}

// gV += go z^T;  gv += go;  returns gz = V^T go.
template <class F>
Values<F> project_backward(const Sizes& s, const Values<F>& go, const Values<F>& z, const Weights<F>& w,
                           const WeightGradients<F>& gw) {
  Values<F> gz = zeros<F>(s.rows() * s.D);
  for (int64_t i = 0; i < s.rows() * s.O; ++i) {
    const int64_t row = i / s.O, n = i % s.O;
    if (gw.out_bias) gw.out_bias[n] += go[i];
    for (int64_t m = 0; m < s.D; ++m) {
      gw.out[n * s.D + m] += go[i] * z[row * s.D + m];
      gz[row * s.D + m] += w.out[n * s.D + m] * go[i];
    }
  }
  return gz;
}

}  // namespace wavenet::plain
