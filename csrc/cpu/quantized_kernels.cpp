// The products of int8 for one instruction set, and a residual layer made of them: compiled once for each, with
// WAVENET_ISA naming it (isas.cmake), by the rules of isa.cpp.
//
//   x, quantised, of all taps    ->  a: sums of bytes, a tap at a time, which are scaled by their row and output
//                                ->  gate  ->  z, a tile of floats, quantised row by row
//   z, quantised                 ->  residual, in place, and skip
#include "cpu/quantized.h"

#include "cpu/instance.h"

#if defined(__AVX2__)
#include <immintrin.h>
#if defined(__AVX512F__)
#define WAVENET_MASKS 1  // parts of vectors are loaded and stored by masks
#endif
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define WAVENET_HERE WAVENET_JOIN(quantized_in_, WAVENET_ISA, , )

namespace wavenet::cpu {
namespace WAVENET_HERE {

// clang-format off: each part builds on those before it.
#include "cpu/vector.h"
#include "cpu/gate.h"
#include "cpu/short_gate.h"
#include "cpu/scratch.h"
#include "cpu/dot.h"
// clang-format on

#if defined(__AVX512F__) || defined(__aarch64__)
// 10 x 2 sums, 4 vectors of weights, 2 of inputs, of 32 registers; and 10 ms of many a network are 10 rows or 20.
constexpr int kRows = 10;
#else
constexpr int kRows = 4;
#endif
constexpr int64_t kTileRows = 64;  // as many rows of z as stay in L1 with a panel
constexpr float kLevels = 63;      // of a row: its largest magnitude is so many steps
constexpr float kSmallest = 1e-30f;

const Vector kNothing[kRows * 2] = {};

// Of a row, its bits: magnitudes as integers are in the same order, with what is not finite on top.
inline int32_t greatest_magnitude(const float* x, int64_t channels) {
  Integers magnitudes = {};
  const int64_t whole = channels / kLanes * kLanes;  // channels of whole vectors
  for (int64_t c = 0; c < whole; c += kLanes) {
    magnitudes = greater_of(magnitudes, (Integers)(to_bits(load(x + c)) & ~kSign));
  }
  if (whole < channels) {
    magnitudes = greater_of(magnitudes, (Integers)(to_bits(load_first(x + whole, channels - whole)) & ~kSign));
  }
  return greatest(magnitudes);
}

inline void quantize_row(const float* x, int64_t channels, float inverse, int64_t bytes, uint8_t* to) {
  // Rounds, and leaves the number in the lowest byte of the mantissa.
  const Vector shift = broadcast(12582912.0f + kMostQuantized);
  const int64_t whole = channels / kLanes * kLanes;  // channels of whole vectors
  for (int64_t c = 0; c < whole; c += kLanes) store_bytes(to + c, to_bits(load(x + c) * inverse + shift));
  for (int64_t c = whole; c < bytes; c += kLanes) {
    uint8_t last[kLanes];
    store_bytes(last, to_bits(load_first(x + c, channels - c) * inverse + shift));
    for (int64_t i = 0; i < kLanes && c + i < bytes; ++i) to[c + i] = last[i];
  }
}

// Some rows at a time, which share their divisions.
void quantize(const float* x, int64_t stride, int64_t rows, int64_t channels, const QuantizedRows& to) {
  for (int64_t t = 0, n; t < rows; t += n) {
    n = smaller(rows - t, kLanes);
    const float* from = x + t * stride;
    int32_t bits[kLanes] = {};
    for (int64_t i = 0; i < n; ++i) bits[i] = greatest_magnitude(from + i * stride, channels);
    const Vector most = (Vector)load_integers(reinterpret_cast<const char*>(bits)), none = {};
    float inverses[kLanes];
    store(inverses, most > kSmallest ? kLevels / most : none);
    // NaN of what is not finite.
    store_first(to.scales + t, (most > kSmallest ? most / kLevels : none) + most * 0.0f, n);
    for (int64_t i = 0; i < n; ++i) {
      quantize_row(from + i * stride, channels, inverses[i], to.bytes, to.data + (t + i) * to.bytes);
    }
  }
}

// ROWS x VECTORS of the product with a panel, biases added: rows from `x` on, taps `dilation` rows apart, the newest
// last.
template <int ROWS, int VECTORS>
WAVENET_APART void products(const QuantizedRows& x, int64_t taps, int64_t dilation, const char* panel,
                            Vector* totals) {
  constexpr int64_t kWidth = VECTORS * kVectorBytes;
  constexpr bool kFew = ROWS * VECTORS <= 4;  // sums would wait for themselves
  const float *scales = reinterpret_cast<const float*>(panel), *biases = scales + VECTORS * kLanes;
  panel += 2 * kWidth;
  for (int64_t k = 0; k < taps; ++k) {
    const QuantizedRows from = rows_from(x, (k + 1 - taps) * dilation);
    Integers sums[ROWS][VECTORS];
    WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) {
      const Integers start = load_integers(panel + j * kVectorBytes);
      WAVENET_UNROLL for (int i = 0; i < ROWS; ++i) sums[i][j] = start;
    }
    panel += kWidth;
    const uint8_t* here = from.data;
    for (const uint8_t* end = here + x.bytes; here != end; here += 8, panel += 2 * kWidth) {
      Integers w[2][VECTORS];
      WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) {
        w[0][j] = load_integers(panel + j * kVectorBytes);
        w[1][j] = load_integers(panel + kWidth + j * kVectorBytes);
      }
      WAVENET_UNROLL for (int i = 0; i < ROWS; ++i) {
        const Integers first = four_bytes(here + i * x.bytes), second = four_bytes(here + i * x.bytes + 4);
        WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) {
          const Integers onto = kFew ? Integers{} : sums[i][j];
          const Integers sum = add_products(onto, first, w[0][j], second, w[1][j]);
          sums[i][j] = kFew ? sums[i][j] + sum : sum;
        }
      }
    }
    const Vector* before = k == 0 ? kNothing : totals;
    const bool last = k + 1 == taps;  // is scaled by output; others by 1
    Vector by[VECTORS], onto[VECTORS];
    WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) {
      by[j] = last ? load(scales + j * kLanes) : broadcast(1), onto[j] = last ? load(biases + j * kLanes) : Vector{};
    }
    WAVENET_UNROLL for (int i = 0; i < ROWS; ++i) {
      const Vector scale = broadcast(from.scales[i]);
      WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) {
        const int64_t at = i * VECTORS + j;
        const Vector sum = before[at] + scale * to_floats(sums[i][j]);  // always fused, where there is such
        totals[at] = sum * by[j] + onto[j];
      }
    }
  }
}

// All rows against one panel: `finish(row, sums)` of each.
template <int VECTORS, class Finish>
inline void sweep_panel(const QuantizedRows& x, int64_t rows, int64_t taps, int64_t dilation, const char* panel,
                        Finish finish) {
  for (int64_t t = 0, n; t < rows; t += n) {
    const int64_t left = rows - t;
    Vector totals[kRows * VECTORS];
    if (left >= kRows) {
      n = kRows, products<kRows, VECTORS>(rows_from(x, t), taps, dilation, panel, totals);
    } else if (kRows > 4 && left >= 4) {
      n = 4, products<4, VECTORS>(rows_from(x, t), taps, dilation, panel, totals);
    } else if (left >= 2) {
      n = 2, products<2, VECTORS>(rows_from(x, t), taps, dilation, panel, totals);
    } else {
      n = 1, products<1, VECTORS>(rows_from(x, t), taps, dilation, panel, totals);
    }
    for (int64_t i = 0; i < n; ++i) finish(t + i, totals + i * VECTORS);
  }
}

// All panels: `finish(row, vector of outputs, sums)`.
template <class Finish>
inline void sweep(const QuantizedPanels& m, const QuantizedRows& x, int64_t rows, int64_t dilation, Finish finish) {
  for (int64_t v = 0; v < m.vectors; v += 2) {
    const char* panel = m.data + panel_bytes(m, v * kLanes);
    if (v + 1 < m.vectors) {
      sweep_panel<2>(x, rows, m.taps, dilation, panel, [finish, v](int64_t row, const Vector* sums) {
        finish(row, v, sums[0]);
        finish(row, v + 1, sums[1]);
      });
    } else {
      sweep_panel<1>(x, rows, m.taps, dilation, panel,
                     [finish, v](int64_t row, const Vector* sums) { finish(row, v, sums[0]); });
    }
  }
}

void convolve(const QuantizedPanels& m, const QuantizedRows& x, int64_t rows, int64_t outputs, float* y) {
  sweep(m, x, rows, 1, [y, outputs](int64_t row, int64_t vector, Vector sums) {
    store_first(y + row * outputs + vector * kLanes, sums, outputs - vector * kLanes);
  });
}

// A tile of gated activations.
struct Gated {
  int64_t stride;
  float* z;
  QuantizedRows rows;

  Gated(Scratch& scratch, const QuantizedLayer& l, int64_t rows) : stride(round_up(l.D, kLanes)) {
    z = scratch.take<float>(rows * stride);
    const int64_t bytes = quantized_bytes(l.D);
    this->rows = {scratch.take<uint8_t>(rows * bytes), scratch.take<float>(rows), bytes};
  }
};

int64_t scratch_bytes(const QuantizedLayer& l, int64_t rows) {
  Scratch scratch(nullptr);
  const Gated gated(scratch, l, smaller(rows, kTileRows));
  return scratch.used();
}

void tile(const QuantizedLayer& l, const QuantizedRows& x, int64_t count, float* rows, float* skip, bool add_skip,
          const Gated& gated) {
  for (int64_t v = 0; v < l.convolution.vectors; v += 2) {
    const char* panel = l.convolution.data + panel_bytes(l.convolution, v * kLanes);
    float* z = gated.z + v / 2 * kLanes;
    const auto finish = [z, stride = gated.stride](int64_t row, const Vector* a) {
      store(z + row * stride, short_gate(a[0], a[1]));
    };
    sweep_panel<2>(x, count, l.convolution.taps, l.dilation, panel, finish);
  }
  quantize(gated.z, gated.stride, count, l.D, gated.rows);
  // Copies: what is stored might be what a reference is to, for all that the compiler knows.
  const float scale = l.residual_scale;
  sweep(l.residual, gated.rows, count, 1, [rows, R = l.R, scale](int64_t row, int64_t vector, Vector o) {
    const int64_t first = vector * kLanes, there = R - first;
    float* to = rows + row * R + first;
    store_first(to, (load_first(to, there) + o) * scale, there);
  });
  sweep(l.skip, gated.rows, count, 1, [skip, S = l.S, add_skip](int64_t row, int64_t vector, Vector o) {
    const int64_t first = vector * kLanes, there = S - first;
    float* to = skip + row * S + first;
    store_first(to, add_skip ? load_first(to, there) + o : o, there);
  });
}

void layer(const QuantizedLayer& l, const QuantizedRows& x, int64_t count, float* rows, float* skip, bool add_skip,
           void* memory) {
  Scratch scratch(memory);
  const Gated gated(scratch, l, smaller(count, kTileRows));
  for (int64_t t = 0; t < count; t += kTileRows) {
    tile(l, rows_from(x, t), smaller(kTileRows, count - t), rows + t * l.R, skip + t * l.S, add_skip, gated);
  }
}

}  // namespace WAVENET_HERE

namespace here = WAVENET_HERE;
extern const QuantizedKernels WAVENET_JOIN(quantized_, WAVENET_ISA, , );
const QuantizedKernels WAVENET_JOIN(quantized_, WAVENET_ISA, , ) = {
    here::kLanes, here::quantize, here::convolve, here::scratch_bytes, here::layer};

}  // namespace wavenet::cpu
