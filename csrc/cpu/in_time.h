// Products of narrow layers, of which a vector of channels would be half empty: signals lie in rows, and time runs along
// the vectors, which are full whatever the number of channels is. Included by isa.cpp, of floats only.
//
//              inputs, at their own times (taps)      t t t t t t t t | t t t t t t t t     Vectors
//   Panels * 4 weights, each for all of a vector  w   sums . . . . .  | . . . . . . . .
//                                                 w   sums . . . . .  | . . . . . . . .
//
// Vectors are whole: what lies behind the last step is computed too, of whatever lies there, and means nothing. A sum is
// one chain in the order of its inputs, so that it does not matter where in a vector, and in which tile, a step is.
//
// Weights are packed in panels of kTimePanel outputs: their biases, then for each input a weight for each of them, zeros
// for outputs that there are not.
#pragma once

// Eight chains keep two multipliers busy, and more of them share more of their loads. Of 32 registers sixteen are sums,
// of 16 twelve.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kMostTimePanels = 2, kMostTimeVectors = 2;
#else
constexpr int kMostTimePanels = 1, kMostTimeVectors = 3;
#endif

template <int Panels, int Vectors>
WAVENET_APART void time_tile(const float* panel, int64_t panel_floats, const Signals* inputs, int64_t count,
                             const Signals& added, const Signals& to, int64_t output, int64_t at) {
  constexpr int kOutputs = Panels * kTimePanel;
  Vector sums[kOutputs][Vectors];
  const auto weight_of = [&](int o) { return broadcast(panel[o / kTimePanel * panel_floats + o % kTimePanel]); };
  WAVENET_UNROLL
  for (int o = 0; o < kOutputs; ++o) {
    WAVENET_UNROLL
    for (int v = 0; v < Vectors; ++v) sums[o][v] = weight_of(o);
  }
  for (const Signals *from = inputs, *end = inputs + count; from != end; ++from) {
    const float* x = from->data + at;
    for (int64_t i = from->count; i > 0; --i, x += from->stride) {
      panel += kTimePanel;
      Vector there[Vectors];
      WAVENET_UNROLL
      for (int v = 0; v < Vectors; ++v) there[v] = load(x + v * kLanes);
      WAVENET_UNROLL
      for (int o = 0; o < kOutputs; ++o) {
        const Vector weight = weight_of(o);
        WAVENET_UNROLL
        for (int v = 0; v < Vectors; ++v) sums[o][v] += weight * there[v];
      }
    }
  }
  const float* more = added.data ? added.data + output * added.stride + at : nullptr;
  float* here = to.data + output * to.stride + at;
  WAVENET_UNROLL
  for (int o = 0; o < kOutputs; ++o) {
    WAVENET_UNROLL
    for (int v = 0; v < Vectors; ++v) {
      if (more) sums[o][v] += load(more + o * added.stride + v * kLanes);
      store(here + o * to.stride + v * kLanes, sums[o][v]);
    }
  }
}

void time_product(const float* panels, int64_t panel_floats, const Signals* inputs, int64_t count, const Signals& added,
                  const Signals& to, int64_t steps) {
  for (int64_t at = 0, some; at < steps; at += some * kLanes) {
    some = smaller(ceil_div(steps - at, kLanes), kMostTimeVectors);
    for (int64_t output = 0, rows; output < to.count; output += rows) {
      const float* panel = panels + output / kTimePanel * panel_floats;
      auto tile = time_tile<1, 2>;
      rows = kTimePanel;
      if (to.count - output > kTimePanel && kMostTimePanels == 2) {
        tile = some == 1 ? time_tile<kMostTimePanels, 1> : time_tile<kMostTimePanels, 2>;
        rows = 2 * kTimePanel;
      } else if (some == 3) {
        tile = time_tile<1, kMostTimeVectors>;
      }
      tile(panel, panel_floats, inputs, count, added, to, output, at);
    }
  }
}

void time_activate(const Signals& signals, const float* gates, float* sums, int64_t steps) {
  for (int64_t row = 0; row < signals.count; ++row) {
    for (int64_t at = row * signals.stride, end = at + steps; at < end; at += kLanes) {
      const Vector a = load(signals.data + at), z = gates ? gate(a, load(gates + at)) : tanh_of(a);
      store(signals.data + at, z);
      store(sums + at, load(sums + at) + z);
    }
  }
}
