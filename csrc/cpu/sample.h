// The products of the sampling loop (sampler.h): a few rows of activations times weights that are read once, in order.
// Included by isa.cpp, of floats only.
//
//   weights   panels of some vectors of outputs, the last one narrower; of a panel all inputs one after another, each a
//             run of its outputs. As wide as the sums of the rows that are computed at once fill the registers, so that a
//             product reads its weights from front to back. In bfloat16 a cell is two inputs' weights of an output, 32 bits,
//             which one instruction each widens; the last cell of an odd number of inputs has a zero.
//   rows      whole vectors, zeros where there are no inputs
//
// A row's sums are made in chains of kChain inputs, in order, whatever the other rows and vectors are: a result
// depends neither on how many signals nor on how many samples are computed at once.
#pragma once

// Vectors of a panel, so that sums keep two multipliers of four cycles busy: those of a row, in two chains, of two rows
// and of four are 8 vectors, those of as many rows as the registers hold 16.
constexpr int kPanelVectors = 4, kPanelVectorsOfMany = 2;
constexpr int kSampleRows = kRows == 12 ? 8 : 4;
constexpr int64_t kSampleAhead = 2048;  // bytes of weights asked for: what follows is in order, but other pages

using Cell = uint32_t;
template <class Weight>
constexpr int64_t kInputs = 1;  // of a Weight
template <>
constexpr int64_t kInputs<Cell> = 2;

inline Vector load_weights(const float* from) { return load(from); }
inline Bits load_weights(const Cell* from) { return to_bits(load(reinterpret_cast<const float*>(from))); }
inline Vector weights_of(Vector loaded, int64_t) { return loaded; }
inline Vector weights_of(Bits loaded, int64_t input) {
  return from_bits(input == 0 ? loaded << 16 : loaded & 0xffff0000u);
}

// So many chains side by side, of `length` inputs each.
template <int CHAINS, int ROWS, int VECTORS, class Weight>
__attribute__((always_inline)) inline void sample_chains(const Weight* weights, int64_t stride, int64_t length,
                                                         int64_t c, const float* const* x, float* const* y,
                                                         int64_t at) {
  constexpr int64_t kOfWeight = kInputs<Weight>;
  Vector sums[CHAINS][ROWS][VECTORS] = {};
  for (int64_t end = c + length; c < end; c += kOfWeight, weights += stride) {
    WAVENET_UNROLL for (int n = 0; n < CHAINS; ++n) {
      const Weight* from = weights + n * length / kOfWeight * stride;
      decltype(load_weights(from)) w[VECTORS];
      WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) {
        w[j] = load_weights(from + j * kLanes);
        __builtin_prefetch(from + j * kLanes + kSampleAhead / sizeof(Weight));
      }
      WAVENET_UNROLL for (int k = 0; k < kOfWeight; ++k) {
        WAVENET_UNROLL for (int i = 0; i < ROWS; ++i) {
          const Vector v = broadcast(x[i][n * length + c + k]);
          WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) sums[n][i][j] += v * weights_of(w[j], k);
        }
      }
    }
  }
  WAVENET_UNROLL for (int i = 0; i < ROWS; ++i) {
    WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) {
      float* to = y[i] + at + j * kLanes;
      Vector sum = load(to);
      WAVENET_UNROLL for (int n = 0; n < CHAINS; ++n) sum += sums[n][i][j];
      store(to, sum);
    }
  }
}

template <int ROWS, int VECTORS, class Weight>
__attribute__((noinline)) void sample_block(const Weight* weights, int64_t stride, int64_t inputs,
                                            const float* const* x, float* const* y, int64_t at) {
  int64_t c = 0;
  const auto from = [&] { return weights + c / kInputs<Weight> * stride; };
  if constexpr (ROWS == 1 && VECTORS == kPanelVectors) {  // the sums of one row don't fill the multipliers
    for (; inputs - c >= 2 * kChain; c += 2 * kChain) {
      sample_chains<2, ROWS, VECTORS>(from(), stride, kChain, c, x, y, at);
    }
  }
  for (; c < inputs; c += kChain) {
    sample_chains<1, ROWS, VECTORS>(from(), stride, smaller(inputs - c, kChain), c, x, y, at);
  }
}

// Of one panel, `stride` outputs wide, so many vectors of outputs from `at` on.
template <int ROWS, class Weight>
inline void sample_panel(const Weight* weights, int64_t stride, int64_t vectors, int64_t inputs, const float* const* x,
                         float* const* y, int64_t at) {
  constexpr int kMost = ROWS >= 4 ? kPanelVectorsOfMany : kPanelVectors;
  for (int64_t j = 0, left; (left = vectors - j) > 0;) {
    const Weight* from = weights + j * kLanes;
    const int64_t here = at + j * kLanes;
    if (left >= kMost) {
      sample_block<ROWS, kMost>(from, stride, inputs, x, y, here), j += kMost;
    } else if (left >= 2) {
      sample_block<ROWS, 2>(from, stride, inputs, x, y, here), j += 2;
    } else {
      sample_block<ROWS, 1>(from, stride, inputs, x, y, here), j += 1;
    }
  }
}

template <class Weight>
inline void sample_rows(const Weight* weights, int64_t width, int64_t outputs, int64_t begin, int64_t end,
                        int64_t inputs, int64_t rows, const float* const* x, float* const* y) {
  for (int64_t at = begin; at < end;) {
    const int64_t first = at / width * width, stride = smaller(width, outputs - first);
    const int64_t vectors = (smaller(end, first + stride) - at) / kLanes;
    const Weight* from = weights + first * ceil_div(inputs, kInputs<Weight>) + (at - first);
    for (int64_t i = 0; i < rows;) {
      if (kSampleRows > 4 && rows - i >= kSampleRows) {
        sample_panel<kSampleRows>(from, stride, vectors, inputs, x + i, y + i, at), i += kSampleRows;
      } else if (rows - i >= 4) {
        sample_panel<4>(from, stride, vectors, inputs, x + i, y + i, at), i += 4;
      } else if (rows - i >= 2) {
        sample_panel<2>(from, stride, vectors, inputs, x + i, y + i, at), i += 2;
      } else {
        sample_panel<1>(from, stride, vectors, inputs, x + i, y + i, at), i += 1;
      }
    }
    at += vectors * kLanes;
  }
}

// Outputs of a panel for products of so many rows.
inline int64_t sample_panel_outputs(int64_t rows) {
  return (rows >= 4 ? kPanelVectorsOfMany : kPanelVectors) * kLanes;
}

// y[i] += W x[i], its outputs from `begin` to `end`. All of them, and these, are whole numbers of vectors; `width`
// outputs are a panel.
inline void sample_product(const void* weights, bool half, int64_t width, int64_t outputs, int64_t begin, int64_t end,
                           int64_t inputs, int64_t rows, const float* const* x, float* const* y) {
  if (half) {
    sample_rows(static_cast<const Cell*>(weights), width, outputs, begin, end, inputs, rows, x, y);
  } else {
    sample_rows(static_cast<const float*>(weights), width, outputs, begin, end, inputs, rows, x, y);
  }
}

// to = the sum of the terms, in order; its elements from `begin` to `end`, a whole number of vectors.
inline void sample_sum(const float* const* terms, int64_t count, int64_t begin, int64_t end, float* to) {
  for (int64_t c = begin; c < end; c += kLanes) {
    Vector sum = load(terms[0] + c);
    for (int64_t i = 1; i < count; ++i) sum += load(terms[i] + c);
    store(to + c, sum);
  }
}

// z = tanh(filter) sigmoid(gate), of a whole number of vectors.
inline void sample_gate(const float* filters, const float* gates, int64_t channels, float* z) {
  for (int64_t c = 0; c < channels; c += kLanes) store(z + c, gate(load(filters + c), load(gates + c)));
}

// to = exp((x - largest) scale), which is 1 of the largest whatever the scale is; below exp(-40) it stays there. Of a
// whole number of vectors.
inline void sample_exp(const float* x, int64_t count, float largest, float scale, float* to) {
  for (int64_t i = 0; i < count; i += kLanes) store(to + i, exp_of_minus((largest - load(x + i)) * scale));
}
