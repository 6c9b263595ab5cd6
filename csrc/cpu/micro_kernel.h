// The two inner products of everything here, on blocks of registers. Included by isa.cpp.
//
//   accumulate   rows x channels times channels x columns: every product of the forward pass, and the
//                gradients of activations
//   outer        the sum over rows of one column of a times one of b: the gradients of weights
//
// Every row (column) goes through the same operations in the same order whatever ROWS is, so a result does not
// depend on how rows were cut into tiles and blocks, nor therefore on the number of threads.
#pragma once

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kRows = 12;      // 12 x 2 accumulators + 2 panel vectors + broadcasts, of 32 registers
constexpr int kOuterRows = 8;  // 8 x 2 accumulators; a panel of a Matrix is a whole number of these
#else
constexpr int kRows = 6;       // 6 x 2 + 2 + 1, of 16 registers
constexpr int kOuterRows = 6;
#endif
constexpr int kPanel = 2 * kLanes;  // columns of a full panel of weights
#if WAVENET_TILES
constexpr int kBlockRows = 32;  // of a product at a time
constexpr int kWholeRows = 16;  // read of a Matrix's last ones, whether they are there or not
#else
constexpr int kBlockRows = kRows;
constexpr int kWholeRows = 1;
#endif

// Products summed one onto the other; longer sums are sums of such chains, and of the bias. The error of one long
// chain grows with its length (measured at n = 768: 3 times eager PyTorch's), and one that starts from a
// large bias rounds every product to the bias's last place.
constexpr int64_t kChain = 64;

// A matrix of activations in scratch memory: panels of kDepth cells, each of them row after row, so that a
// block of rows and a pair of vectors of columns both are short runs of lines. Channels that fill up the last vector
// are zeros where vectors of columns are read.
constexpr int kDepth = kNarrow;
template <int PER_CELL>
struct MatrixOf {
  Real* data;
  int64_t rows, channels;

  int64_t panel_stride() const { return rows * kDepth; }
  Real* at(int64_t row, uint64_t channel) const {
    const uint64_t cell = channel / PER_CELL;
    return data + (static_cast<int64_t>(cell / kDepth) * rows + row) * kDepth + cell % kDepth;
  }
  static int64_t reals(int64_t rows, int64_t channels) {
    return round_up(rows, kWholeRows) * round_up(ceil_div(channels, PER_CELL), kDepth);
  }
  static MatrixOf take(Scratch& scratch, int64_t rows, int64_t channels) {
    return {scratch.take<Real>(reals(rows, channels)), rows, channels};
  }
};
typedef MatrixOf<kPerCell> Matrix;  // factors of products
typedef MatrixOf<1> RealMatrix;

inline RealMatrix as_reals(const Matrix& m) { return {m.data, m.rows, m.channels}; }  // where they are

// A vector of channels, from a multiple of its width on.
inline void put(const Matrix& m, int64_t row, int64_t channel, Vector v) {
  store_stored(reinterpret_cast<Stored*>(m.at(row, channel)), v);
}
inline Vector get(const Matrix& m, int64_t row, int64_t channel) {
  return load_stored(reinterpret_cast<const Stored*>(m.at(row, channel)));
}

// A cell of every row: what is summed over rows, as the depth of a product; of tiles all rows, with zeros.
inline RealMatrix with_rows_in_cells(const Matrix& m, [[maybe_unused]] int64_t rows,
                                     [[maybe_unused]] const RealMatrix& room) {
#if WAVENET_PAIRS
  const RealMatrix to{room.data, round_up(cells_of(rows), kWholeRows), m.channels};
  for (int64_t i = 0; i < 2 * to.rows; i += 2) {
    for (int64_t c = 0; c < m.channels; c += kLanes) {
      const Vector low = i < rows ? get(m, i, c) : Vector{}, high = i + 1 < rows ? get(m, i + 1, c) : Vector{};
      store(to.at(i / 2, c), in_cells(low, high));
    }
  }
  return to;
#else
  return m;
#endif
}

// The rows of a Matrix from some row on, as one part of the depth of a product.
struct Segment {
  const Real* rows;
  int64_t panel_stride, cells;

  Segment() = default;
  Segment(const Matrix& m, int64_t row)
      : rows(m.data + row * kDepth), panel_stride(m.panel_stride()), cells(cells_of(m.channels)) {}
};

// What a block of sums starts with, of some rows and of one panel of columns or several.
struct Start {
  const Real* data;
  int64_t by_row, by_panel;

  Start(const Real* biases, int64_t by_panel) : data(biases), by_row(0), by_panel(by_panel) {}  // every row's
  Start(const Vector* sums, int64_t rows, int64_t vectors)  // as `totals` has them
      : data(reinterpret_cast<const Real*>(sums)), by_row(vectors * kLanes), by_panel(rows * vectors * kLanes) {}
};

// The segments, side by side, times the packed weights of a panel, or of several which are `by_panel` apart. (A
// reference: GCC 12 copies a Start by one wide load of two fields that were stored apart just before, and that load waits
// until all stores are done. The Start must outlive the product.)
struct Product {
  const Segment* segments;
  int64_t count;
  const Real* weights;
  int64_t by_panel;
  const Start& start;
};

// Of so few rows a panel's sums are too few to keep the multipliers busy, each waiting for itself: that many panels'
// are made at once.
constexpr int64_t panels_at_once(int64_t rows) {
  return kBlockRows > kRows || rows >= 4 ? 1 : rows >= 2 ? 2 : 4;  // tiles keep nothing waiting
}

// Those panels, and their sums: of a block of rows or, of several panels, of all rows.
struct PanelGroup {
  int64_t first = 0, count = 0, by_panel = 0;
  Vector y0[kBlockRows * 2], y1[kBlockRows * 2];  // two rows of a unit (fast.h)

  // Where a panel's sums of a block of rows from i on are.
  int64_t at(int64_t i, int64_t panel, int64_t rows, int64_t vectors) const {
    return count == 1 ? 0 : (i * count + (panel - first) * rows) * vectors;
  }
};

// totals = start + the product: PANELS x ROWS x VECTORS of it. Never inlined, so that the registers of this loop are not
// shared with whatever is done with the totals.
template <int ROWS, int VECTORS, int PANELS = 1>
__attribute__((noinline)) void accumulate(const Product& product, Vector* totals) {
  Start start = product.start;
  const Real* weights = product.weights;
  const int64_t by_panel = product.by_panel;
  Vector acc[ROWS][PANELS][VECTORS] = {};
  const auto finish_chain = [&] {
    WAVENET_UNROLL for (int i = 0; i < ROWS; ++i) {
      WAVENET_UNROLL for (int p = 0; p < PANELS; ++p) {
        WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) {
          const Vector before = load(start.data + i * start.by_row + p * start.by_panel + j * kLanes);
          totals[(p * ROWS + i) * VECTORS + j] = before + acc[i][p][j];
          acc[i][p][j] = Vector{};
        }
      }
    }
    start = Start(totals, ROWS, VECTORS);
  };
  int64_t chained = 0;
  for (const Segment *s = product.segments, *last = s + product.count; s != last; ++s) {
    const Real* panel = s->rows;
    for (int64_t left = s->cells, n; left > 0; left -= n, panel += s->panel_stride) {
      n = smaller(left, kDepth);
      if (chained + n > kChain) finish_chain(), chained = 0;
      chained += n;
      for (const Real *x = panel, *end = panel + n; x != end; ++x, weights += VECTORS * kLanes) {
        Vector w[PANELS][VECTORS];
        WAVENET_UNROLL for (int p = 0; p < PANELS; ++p) {
          WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) w[p][j] = load(weights + p * by_panel + j * kLanes);
        }
        WAVENET_UNROLL for (int i = 0; i < ROWS; ++i) {
          const Vector v = broadcast_cell(x + i * kDepth);
          WAVENET_UNROLL for (int p = 0; p < PANELS; ++p) {
            WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) acc[i][p][j] = multiply_add(acc[i][p][j], v, w[p][j]);
          }
        }
      }
    }
  }
  finish_chain();
}

// Rows are cut into blocks of kRows, then 4, 2, 1: four instances serve every length.
constexpr int64_t register_rows(int64_t rows_left) {
  return rows_left >= kRows ? kRows : rows_left >= 4 ? 4 : rows_left >= 2 ? 2 : 1;
}

// Several panels are of two vectors each, and for as few rows as panels_at_once says.
template <int VECTORS>
__attribute__((noinline)) void accumulate_in_registers(int64_t rows, int64_t panels, const Product& product,
                                                       Vector* totals) {
  if (VECTORS == 2 && panels > 1) {
    if (rows == 2) return accumulate<2, 2, 2>(product, totals);
    return panels == 2 ? accumulate<1, 2, 2>(product, totals) : accumulate<1, 2, 4>(product, totals);
  }
  switch (rows) {
    case kRows:
      return accumulate<kRows, VECTORS>(product, totals);
    case 4:
      return accumulate<4, VECTORS>(product, totals);
    case 2:
      return accumulate<2, VECTORS>(product, totals);
    default:
      return accumulate<1, VECTORS>(product, totals);
  }
}

#if !WAVENET_TILES  // else amx.h has them

struct Amx {
  explicit Amx(int64_t = 0) {}
};

constexpr int64_t block_size(int64_t rows_left) { return register_rows(rows_left); }

template <int VECTORS>
inline void accumulate_block(int64_t rows, int64_t panels, const Product& product, Vector* totals) {
  accumulate_in_registers<VECTORS>(rows, panels, product, totals);
}

inline RealMatrix with_channels_as_rows(const RealMatrix& m) { return m; }

// sums[i][j] = or += the sum over rows of a[row][i] b[row][j], in chains; a and b point into panels. A row of cells may
// be two rows of channels (rows_in_cells).
template <int ROWS, int VECTORS>
__attribute__((noinline)) void outer(int64_t rows, const Real* a, const Real* b, bool add, Vector* sums) {
  for (int64_t done = 0, n; done < rows; done += n) {
    n = smaller(rows - done, kChain);
    Vector acc[ROWS][VECTORS] = {};
    for (int64_t r = 0; r < n; ++r, a += kDepth, b += kDepth) {
      Vector w[VECTORS];
      WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) w[j] = load(b + j * kLanes);
      WAVENET_UNROLL for (int i = 0; i < ROWS; ++i) {
        const Vector v = broadcast_cell(a + i);
        WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) acc[i][j] = multiply_add(acc[i][j], v, w[j]);
      }
    }
    WAVENET_UNROLL for (int i = 0; i < ROWS; ++i) {
      WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) {
        Vector& sum = sums[i * VECTORS + j];
        sum = add ? sum + acc[i][j] : acc[i][j];
      }
    }
    add = true;
  }
}

// Columns from `channel` on that make a block: all in one panel, which 4 of 6 and 2 of 4 fill where 6 do not divide it.
constexpr int64_t outer_block_size(int64_t channel, int64_t channels) {
  const int64_t left = smaller(channels - channel, kDepth - channel % kDepth);
  if (left % kOuterRows == 0 || left >= kOuterRows + 8) return kOuterRows;
  return left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

template <int VECTORS>
inline void outer_block(int64_t columns, int64_t rows, const Real* a, const Real* b, bool add, Vector* sums) {
  switch (columns) {
    case kOuterRows:
      return outer<kOuterRows, VECTORS>(rows, a, b, add, sums);
    case 4:
      return outer<4, VECTORS>(rows, a, b, add, sums);
    case 2:
      return outer<2, VECTORS>(rows, a, b, add, sums);
    default:
      return outer<1, VECTORS>(rows, a, b, add, sums);
  }
}

// The columns of one panel of a, from `first` to `end`, and the vectors of b from `column` on: sums has VECTORS for each
// of them. So many rows at a time that those of a and b stay in L1 for all blocks of the panel.
template <int VECTORS>
inline void outer_panel(const RealMatrix& a, int64_t first, int64_t end, const RealMatrix& b, int64_t column, int64_t rows,
                        Vector* sums) {
  constexpr int64_t kRowsInL1 = 2 * kChain;
  for (int64_t row = 0; row < rows; row += kRowsInL1) {
    const int64_t count = smaller(kRowsInL1, rows - row);
    for (int64_t c = first, n; c < end; c += n) {
      n = outer_block_size(c, end);
      outer_block<VECTORS>(n, count, a.at(row, c), b.at(row, column), row > 0, sums + (c - first) * VECTORS);
    }
  }
}

#endif
