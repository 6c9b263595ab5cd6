// The inner product of everything here: a block of ROWS rows times a panel of VECTORS vectors of columns,
// accumulated in registers over all taps and channels. Included by isa.cpp.
//
//                      panel: depth x (VECTORS * kLanes), packed, read once from L1
//                      +-----------+
//     taps: rows of    | w  w  w  w|
//     channels, used   +-----------+
//     in place    x[i] -> acc[i][0..VECTORS)
//
// Every row goes through the same operations in the same order whatever ROWS is, so a result does not depend
// on how rows were cut into tiles and blocks, nor therefore on the number of threads.
#pragma once

#if defined(__AVX512F__)
constexpr int kRows = 12;  // 12 x 2 accumulators + 2 panel vectors + broadcasts, of 32 registers
#else
constexpr int kRows = 6;  // 6 x 2 + 2 + 1, of 16 registers
#endif
constexpr int kPanel = 2 * kLanes;  // columns of a full panel

// Products summed one onto the other; longer sums are sums of such chains, and of the bias. The error of one long
// chain grows with its length (measured at n = 768: 3 times eager PyTorch's), and one that starts from a
// large bias rounds every product to the bias's last place. With chains of 32 it is eager's.
constexpr int64_t kChain = 32;

// Row i of one tap's input is the channels at base + i * stride.
struct Tap {
  const float* base;
  int64_t stride;
};

// totals = bias + the product, ROWS x VECTORS of it. The panel starts with its bias. Never inlined, so that the
// registers of this loop are not shared with whatever is done with the totals.
template <int ROWS, int VECTORS>
__attribute__((noinline)) void accumulate(const Tap* taps, int64_t tap_count, int64_t channels,
                                          const float* panel, Vector* totals) {
  constexpr int kWidth = VECTORS * kLanes;
  const float* bias = panel;
  panel += kWidth;
  Vector acc[ROWS][VECTORS] = {};
  bool first_chain = true;
  const auto finish_chain = [&] {
    WAVENET_UNROLL for (int i = 0; i < ROWS; ++i) {
      WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) {
        Vector& total = totals[i * VECTORS + j];
        total = (first_chain ? load(bias + j * kLanes) : total) + acc[i][j];
        acc[i][j] = Vector{};
      }
    }
    first_chain = false;
  };
  int64_t chained = 0;
  for (int64_t k = 0; k < tap_count; ++k) {
    const float* x = taps[k].base;
    const int64_t stride = taps[k].stride;
    for (int64_t c = 0, n; c < channels; c += n) {
      n = smaller(channels - c, kChain);
      if (chained + n > kChain) finish_chain(), chained = 0;
      chained += n;
      for (const float* end = x + n; x != end; ++x, panel += kWidth) {
        Vector w[VECTORS];
        WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) w[j] = load(panel + j * kLanes);
        WAVENET_UNROLL for (int i = 0; i < ROWS; ++i) {
          const Vector v = broadcast(x[i * stride]);
          WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) acc[i][j] += v * w[j];
        }
      }
    }
  }
  finish_chain();
}

// Rows are cut into blocks of kRows, then 4, 2, 1: four instances serve every length.
constexpr int64_t block_size(int64_t rows_left) {
  return rows_left >= kRows ? kRows : rows_left >= 4 ? 4 : rows_left >= 2 ? 2 : 1;
}

template <int VECTORS>
inline void accumulate_block(int64_t rows, const Tap* taps, int64_t tap_count, int64_t channels,
                             const float* panel, Vector* totals) {
  switch (rows) {
    case kRows:
      return accumulate<kRows, VECTORS>(taps, tap_count, channels, panel, totals);
    case 4:
      return accumulate<4, VECTORS>(taps, tap_count, channels, panel, totals);
    case 2:
      return accumulate<2, VECTORS>(taps, tap_count, channels, panel, totals);
    default:
      return accumulate<1, VECTORS>(taps, tap_count, channels, panel, totals);
  }
}
