// Products of bfloat16 in the tiles of AMX, each 16 rows of 64 bytes. Included by isa.cpp.
//
//                       b    tmm6   tmm7      16 cells deep, 16 columns each
//   a   tmm4    sums         tmm0   tmm1
//       tmm5                 tmm2   tmm3      16 rows of 16 cells each; sums stay in tiles for all of the depth
//
// Cells lie as tiles want them: a row of a Matrix is one of a, and a run of packed columns is one of b. The instruction sums
// its 32 products in two chains of 16 and adds these to the sum: that is what a chain is made of here, so there may be kChain
// of them. A result still depends on no other row: all go through tiles, which are filled up with whatever lies behind the
// last row, and nobody looks at what becomes of that. What a depth has beyond whole tiles is added in vectors.
#pragma once

#if WAVENET_TILES

constexpr int kSide = 16;  // rows of a tile; and cells, or floats, of a row
static_assert(kLanes == kSide && kDepth % kSide == 0 && kBlockRows == 2 * kSide && kWholeRows == kSide, "");

// While it exists this thread may use tiles, if products are of so many channels that there is a whole one; without it there
// are none that a processor, or a system, would have to keep.
class Amx {
 public:
  explicit Amx(int64_t channels = kChannelsAtOnce) : used_(cells_of(channels) >= kSide) {
    struct alignas(64) Configuration {
      uint8_t palette, start_row, reserved[14];
      uint16_t row_bytes[16];
      uint8_t rows[16];
    };
    constexpr uint16_t n = kVectorBytes;
    constexpr uint8_t m = kSide;
    static constexpr Configuration kAllWhole = {1, 0, {}, {n, n, n, n, n, n, n, n}, {m, m, m, m, m, m, m, m}};
    if (used_) _tile_loadconfig(&kAllWhole);
  }
  ~Amx() {
    if (used_) _tile_release();
  }
  Amx(const Amx&) = delete;

 private:
  bool used_;
};

// BLOCKS of 16 rows, one or two, by as many VECTORS of columns. (The numbers of tiles must be written out.)
template <int BLOCKS, int VECTORS>
__attribute__((always_inline)) inline void clear_sums() {
  __asm__ volatile("" ::: "memory");  // GCC 12 doesn't know that loading a tile reads what was stored before
  _tile_zero(0);
  if (VECTORS == 2) _tile_zero(1);
  if (BLOCKS == 2) _tile_zero(2);
  if (BLOCKS == 2 && VECTORS == 2) _tile_zero(3);
}

template <int BLOCKS, int VECTORS>
__attribute__((always_inline)) inline void add_products_of_tiles(const Real* a, const Real* second_a, const Real* b,
                                                                 int64_t b_stride) {
  constexpr int64_t kStride = kDepth * sizeof(Real);
  _tile_loadd(4, a, kStride);
  _tile_loadd(6, b, b_stride * sizeof(Real));
  _tile_dpbf16ps(0, 4, 6);
  if (VECTORS == 2) {
    _tile_loadd(7, b + kLanes, b_stride * sizeof(Real));
    _tile_dpbf16ps(1, 4, 7);
  }
  if (BLOCKS == 1) return;
  _tile_loadd(5, second_a, kStride);
  _tile_dpbf16ps(2, 5, 6);
  if (VECTORS == 2) _tile_dpbf16ps(3, 5, 7);
}

template <int BLOCKS, int VECTORS>
__attribute__((always_inline)) inline void store_sums(Vector* to) {
  constexpr int64_t kStride = VECTORS * sizeof(Vector);
  Vector* second = to + kSide * VECTORS;
  _tile_stored(0, to, kStride);
  if (VECTORS == 2) _tile_stored(1, to + 1, kStride);
  if (BLOCKS == 2) _tile_stored(2, second, kStride);
  if (BLOCKS == 2 && VECTORS == 2) _tile_stored(3, second + 1, kStride);
}

inline const Real* cell_of(const Segment& s, int64_t cell) {
  return s.rows + cell / kDepth * s.panel_stride + cell % kDepth;
}
inline int64_t whole_cells(const Segment& s) { return s.cells / kSide * kSide; }

// totals = start + what whole tiles make of the segments' depth.
template <int BLOCKS, int VECTORS>
__attribute__((noinline)) void accumulate_tiles(int64_t rows, const Product& product, Vector* totals) {
  Start start = product.start;
  const Real* weights = product.weights;
  constexpr int64_t kWidth = VECTORS * kLanes;
  const auto finish_chain = [&] {
    Vector sums[BLOCKS * kSide * VECTORS];
    store_sums<BLOCKS, VECTORS>(sums);
    clear_sums<BLOCKS, VECTORS>();
    for (int64_t i = 0; i < rows; ++i) {
      WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) {
        totals[i * VECTORS + j] = load(start.data + i * start.by_row + j * kLanes) + sums[i * VECTORS + j];
      }
    }
    start = Start(totals, rows, VECTORS);
  };
  int64_t chained = 0;
  clear_sums<BLOCKS, VECTORS>();
  for (const Segment *s = product.segments, *end = s + product.count; s != end; weights += s++->cells * kWidth) {
    for (int64_t cell = 0; cell < whole_cells(*s); cell += kSide) {
      if (chained++ == kChain) finish_chain(), chained = 1;
      const Real* a = cell_of(*s, cell);
      add_products_of_tiles<BLOCKS, VECTORS>(a, a + kSide * kDepth, weights + cell * kWidth, kWidth);
    }
  }
  finish_chain();
}

// totals += the product of the cells that make no whole tile.
template <int VECTORS>
__attribute__((noinline)) void accumulate_rest(int64_t rows, const Product& product, Vector* totals) {
  const Real* weights = product.weights;
  constexpr int64_t kWidth = VECTORS * kLanes;
  for (const Segment *s = product.segments, *end = s + product.count; s != end; weights += s++->cells * kWidth) {
    Segment rest = *s;
    rest.rows = cell_of(*s, whole_cells(*s)), rest.cells -= whole_cells(*s);
    for (int64_t i = 0, n; rest.cells > 0 && i < rows; i += n, rest.rows += n * kDepth) {
      n = register_rows(rows - i);
      Vector* to = totals + i * VECTORS;
      const Product of_rest{&rest, 1, weights + whole_cells(*s) * kWidth, 0, Start(to, n, VECTORS)};
      accumulate_in_registers<VECTORS>(n, 1, of_rest, to);
    }
  }
}

constexpr int64_t block_size(int64_t rows_left) { return smaller(rows_left, kBlockRows); }

template <int VECTORS>
inline void accumulate_block(int64_t rows, int64_t, const Product& product, Vector* totals) {
  bool tiles = false, rest = false;
  for (int64_t s = 0; s < product.count; ++s) {
    tiles |= product.segments[s].cells >= kSide, rest |= product.segments[s].cells % kSide != 0;
  }
  if (tiles) {
    const auto accumulate = rows > kSide ? accumulate_tiles<2, VECTORS> : accumulate_tiles<1, VECTORS>;
    accumulate(rows, product, totals);
  } else {
    for (int64_t i = 0; i < rows * VECTORS; ++i) {
      totals[i] = load(product.start.data + i / VECTORS * product.start.by_row + i % VECTORS * kLanes);
    }
  }
  if (rest) accumulate_rest<VECTORS>(rows, product, totals);
}

// Whether tiles give what vectors do, bit by bit: of small integers, whose products and sums nobody has to round.
__attribute__((noinline)) bool tiles_agree() {
  Real rows[kBlockRows * kDepth], weights[kDepth * kPanel];
  const auto fill = [](Real* to, int64_t count, int64_t step) {
    int64_t n = 0;
    const auto some = [&] {
      Vector v = {};
      for (int64_t i = 0; i < kLanes; ++i, n += step) v[i] = static_cast<Real>(n % 61 - 30);
      return v;
    };
    for (int64_t i = 0; i < count; i += kLanes) {
      const Vector low = some(), high = some();
      store(to + i, in_cells(low, high));
    }
  };
  fill(rows, kBlockRows * kDepth, 7), fill(weights, kDepth * kPanel, 11);
  Segment segment;
  segment.rows = rows, segment.panel_stride = 0, segment.cells = kDepth;
  const Real zeros[kPanel] = {};
  const Product product{&segment, 1, weights, 0, Start(zeros, 0)};
  Vector tiled[kBlockRows * 2], plain[kBlockRows * 2];
  const Amx amx;
  accumulate_tiles<2, 2>(kBlockRows, product, tiled);
  for (int64_t i = 0, n; i < kBlockRows; i += n, segment.rows += n * kDepth) {
    n = register_rows(kBlockRows - i);
    accumulate_in_registers<2>(n, 1, product, plain + 2 * i);
  }
  return __builtin_memcmp(tiled, plain, sizeof plain) == 0;
}

// Turns blocks of 16 cells by 16 channels, each in its place: rows of a are channels where sums are over cells.
inline RealMatrix with_channels_as_rows(const RealMatrix& m) {
  for (int64_t r = 0; r < m.rows; r += kSide) {
    for (int64_t c = 0; c < m.channels; c += kSide) {
      Vector block[kSide];
      for (int64_t i = 0; i < kSide; ++i) block[i] = load(m.at(r + i, c));
      transpose(block);
      for (int64_t i = 0; i < kSide; ++i) store(m.at(r + i, c), block[i]);
    }
  }
  return m;
}

template <int BLOCKS, int VECTORS>
__attribute__((noinline)) void outer_tiles(int64_t rows, const Real* a, const Real* b, Vector* sums) {
  clear_sums<BLOCKS, VECTORS>();
  for (int64_t r = 0; r < rows; r += kSide, a += kSide * kDepth, b += kSide * kDepth) {
    add_products_of_tiles<BLOCKS, VECTORS>(a, a + kSide, b, kDepth);
  }
  store_sums<BLOCKS, VECTORS>(sums);
}

// All rows at once: there are fewer of them than a chain may have.
template <int VECTORS>
inline void outer_panel(const RealMatrix& a, int64_t first, int64_t end, const RealMatrix& b, int64_t column, int64_t rows,
                        Vector* sums) {
  const auto outer = end - first > kSide ? outer_tiles<2, VECTORS> : outer_tiles<1, VECTORS>;
  outer(rows, a.at(0, first), b.at(0, column), sums);
}

#endif
