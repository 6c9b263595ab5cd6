// The products of the sampling loop (sampler.h): a few rows of activations times weights that are read once, in order.
// Included by isa.cpp, of floats only.
//
//   weights   panels of some vectors of outputs, the last one narrower; of a panel all inputs, or cells of them, one after
//             another, each a run of its outputs. As wide as the sums of the rows that are computed at once fill the registers, so
//             that a product reads its weights from front to back
//
// A row's sums are made in chains of kChain inputs, in order, whatever the other rows and vectors are: a result
// depends neither on how many signals nor on how many samples are computed at once.
#pragma once

constexpr int64_t kSampleSums = 8;  // as many vectors of sums as keep two multipliers of four cycles busy
constexpr int64_t kPanelVectors = 4;  // of outputs, at most: threads share them out

#if WAVENET_PAIRS

// Weights are cells of two inputs'. An input is the sum of three bfloat16, which have all its digits: three products, each of
// two inputs at once, and of sums that do not wait for one another.
constexpr int kParts = 3;

inline int64_t sample_part(int64_t inputs) { return round_up(inputs, kLanes) / kPerCell; }  // in cells
inline int64_t sample_split_size(int64_t inputs) { return kParts * sample_part(inputs); }

inline void sample_split(const float* x, int64_t inputs, float* to) {
  const int64_t part = sample_part(inputs);
  for (int64_t c = 0; c < inputs; c += kLanes) {
    Vector rest = load_first(x + c, inputs - c);
    for (int64_t i = 0; i < kParts; ++i) {
      Stored* stored = reinterpret_cast<Stored*>(to + i * part + c / kPerCell);
      store_stored(stored, rest);
      rest -= load_stored(stored);
    }
  }
}

template <int ROWS, int VECTORS>
__attribute__((noinline)) void sample_block(const Real* weights, int64_t stride, int64_t inputs, const float* const* x,
                                            float* const* y, int64_t at) {
  const int64_t cells = cells_of(inputs), part = sample_part(inputs);
  for (int64_t c = 0; c < cells;) {
    const int64_t end = smaller(cells, c + kChain / kPerCell);
    Vector sums[ROWS][VECTORS][kParts] = {};
    for (; c < end; ++c, weights += stride) {
      Vector w[VECTORS];
      WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) w[j] = load(weights + j * kLanes);
      WAVENET_UNROLL for (int i = 0; i < ROWS; ++i) {
        WAVENET_UNROLL for (int n = 0; n < kParts; ++n) {
          const Vector v = broadcast_cell(x[i] + n * part + c);
          WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) sums[i][j][n] = multiply_add(sums[i][j][n], v, w[j]);
        }
      }
    }
    WAVENET_UNROLL for (int i = 0; i < ROWS; ++i) {
      WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) {
        float* to = y[i] + at + j * kLanes;
        store(to, load(to) + (sums[i][j][0] + (sums[i][j][1] + sums[i][j][2])));
      }
    }
  }
}

#else

inline int64_t sample_split_size(int64_t) { return 0; }
inline void sample_split(const float*, int64_t, float*) {}

inline Vector load_weights(const float* from) { return load(from); }
inline Vector load_weights(const uint16_t* from) { return from_bits(load_halves(from, 0, kLanes) << 16); }

// So many chains side by side, of `length` inputs each.
template <int CHAINS, int ROWS, int VECTORS, class Weight>
__attribute__((always_inline)) inline void sample_chains(const Weight* weights, int64_t stride, int64_t length,
                                                         int64_t c, const float* const* x, float* const* y,
                                                         int64_t at) {
  Vector sums[CHAINS][ROWS][VECTORS] = {};
  for (int64_t end = c + length; c < end; ++c, weights += stride) {
    WAVENET_UNROLL for (int n = 0; n < CHAINS; ++n) {
      Vector w[VECTORS];
      WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) w[j] = load_weights(weights + n * length * stride + j * kLanes);
      WAVENET_UNROLL for (int i = 0; i < ROWS; ++i) {
        const Vector v = broadcast(x[i][n * length + c]);
        WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) sums[n][i][j] += v * w[j];
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
  if constexpr (ROWS == 1 && VECTORS == kPanelVectors) {  // the sums of one row don't fill the multipliers
    for (; inputs - c >= 2 * kChain; c += 2 * kChain) {
      sample_chains<2, ROWS, VECTORS>(weights + c * stride, stride, kChain, c, x, y, at);
    }
  }
  for (; c < inputs; c += kChain) {
    sample_chains<1, ROWS, VECTORS>(weights + c * stride, stride, smaller(inputs - c, kChain), c, x, y, at);
  }
}

#endif

// Of one panel, `stride` outputs wide, so many vectors of outputs from `at` on, in parts of at most 8 sums.
template <int ROWS, class Weight>
inline void sample_panel(const Weight* weights, int64_t stride, int64_t vectors, int64_t inputs, const float* const* x,
                         float* const* y, int64_t at) {
  for (int64_t j = 0, left; (left = vectors - j) > 0;) {
    const Weight* from = weights + j * kLanes;
    const int64_t here = at + j * kLanes;
    if (ROWS <= 2 && left >= 4) {
      sample_block<ROWS, ROWS <= 2 ? 4 : 1>(from, stride, inputs, x, y, here), j += 4;
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
    const Weight* from = weights + first * cells_of(inputs) + (at - first);
    for (int64_t i = 0; i < rows;) {
      if (rows - i >= 4) {
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
  return smaller(kSampleSums / (rows >= 4 ? 4 : rows >= 2 ? 2 : 1), kPanelVectors) * kLanes;
}

// y[i] += W x[i], its outputs from `begin` to `end`. All of them, and these, are whole numbers of vectors; `width`
// outputs are a panel.
inline void sample_product(const void* weights, [[maybe_unused]] bool half, int64_t width, int64_t outputs, int64_t begin,
                           int64_t end, int64_t inputs, int64_t rows, const float* const* x, float* const* y) {
#if !WAVENET_PAIRS
  if (half) {
    return sample_rows(static_cast<const uint16_t*>(weights), width, outputs, begin, end, inputs, rows, x, y);
  }
#endif
  sample_rows(static_cast<const float*>(weights), width, outputs, begin, end, inputs, rows, x, y);
}

// z = tanh(filter) sigmoid(gate), of a whole number of vectors.
inline void sample_gate(const float* filters, const float* gates, int64_t channels, float* z) {
  for (int64_t c = 0; c < channels; c += kLanes) store(z + c, gate(load(filters + c), load(gates + c)));
}

// to = exp(scale x - shift), x at most shift / scale; below exp(-40) it stays there. Of a whole number of vectors.
inline void sample_exp(const float* x, int64_t count, float scale, float shift, float* to) {
  for (int64_t i = 0; i < count; i += kLanes) store(to + i, exp_of_minus(shift - load(x + i) * scale));
}
