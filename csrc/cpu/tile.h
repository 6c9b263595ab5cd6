// One tile of rows through a layer, or through the part of it that an operator is. Included by isa.cpp.
//
//   x, all taps of the tile's rows           ->  inputs, a tile in L2 (fast.h)
//   conditioning, if it lies time by time    ->  cond, a tile in L2
//   for each panel of weights (stays in L1):  for each block of rows (registers):
//      convolution panels   inputs           ->  a in registers  ->  gate  ->  z, a tile in L2
//      residual panels      z                ->  s (x + V z + v) ->  residual
//      skip panels          z                ->  skip (+)= V z + v
#pragma once

// What the rows of a tile share, and its memory.
struct Tile {
  int64_t b, units, rows;
  int64_t* times;  // of each row; -1: the row doesn't exist
  Inputs in;
  Stored* zeros;
  Real *buffers, *panel, *cond;
  int64_t* row_at;  // of each time from times[0] on, where a tile's times are close together

  // Memory for tiles of that many units of a convolution over `channels` channels.
  Tile(Scratch& scratch, const Layer& l, int64_t units, int64_t channels) : b(0), units(units) {
    rows = units * rows_per_unit(l);
    times = scratch.take<int64_t>(rows);
    in.data = scratch.take<Real>(Inputs::reals(l, units, channels));
    in.segments = scratch.take<Segment>(l.K);
    buffers = scratch.take<Real>(Source::reals(l.K, channels));
    zeros = scratch.take<Stored>(channels);
    panel = scratch.take<Real>(paired(l) ? kPanel * (l.K * channels + 1) : 0);
    cond = scratch.take<Real>(lies_in_times(l.cond) ? rows * cond_stride(l) : 0);
    row_at = scratch.take<int64_t>(lies_in_times(l.cond) ? times_between(l) : 0);
  }

  // Never so in a stream.
  static bool lies_in_times(const Rows& cond) {
    return !WAVENET_FORWARD_ONLY && cond.data && cond.channel_stride != 1;
  }
  static int64_t cond_stride(const Layer& l) { return 2 * round_up(l.D, kLanes); }

  // From a tile's first time to its last one where units' rows are less than a vector apart.
  int64_t times_between(const Layer& l) const { return rows + rows_per_unit(l) * smaller(l.dilation, kLanes); }

  // Where the channels of conditioning aren't side by side: block by block of times that are.
  __attribute__((noinline)) void gather_cond(const Layer& l) {
    if (rows_per_unit(l) == 1 || l.dilation >= kLanes) {
      for (int64_t i = 0, n; i < rows; i += n) {
        for (n = 1; n < kLanes && i + n < rows && times[i] >= 0 && times[i + n] == times[i] + n;) ++n;
        if (times[i] < 0) continue;
        gather_cond(l, times[i], n, [&](int64_t m) { return i + m; });
      }
      return;
    }
    const int64_t first = times[0], room = times_between(l);
    int64_t last = first;
    for (int64_t i = 0; i < room; ++i) row_at[i] = -1;
    for (int64_t i = 0; i < rows; ++i) {
      if (times[i] >= 0) row_at[times[i] - first] = i, last = larger(last, times[i]);
    }
    for (int64_t t = first; t <= last; t += kLanes) {
      gather_cond(l, t, smaller(kLanes, last + 1 - t), [&](int64_t m) { return row_at[t - first + m]; });
    }
  }

  // Of times t, t + 1, ..., n of them at most as many as lanes: to the rows that row_of says, none where that is below 0.
  template <class RowOf>
  void gather_cond(const Layer& l, int64_t t, int64_t n, RowOf&& row_of) {
    const int64_t half = cond_stride(l) / 2;
    for (int64_t gate = 0; gate < 2; ++gate) {
      Rows from = l.cond;
      from.data = static_cast<char*>(from.data) + gate * l.D * from.channel_stride * storage_bytes(l.dtype);
      for (int64_t first = 0; first < l.D; first += kLanes) {
        Vector block[kLanes];
        load_block(from, l.dtype, b, t, n, first, l.D - first, block);
        for (int64_t m = 0; m < n; ++m) {
          if (row_of(m) >= 0) store(cond + (2 * row_of(m) + gate) * half + first, block[m]);
        }
      }
    }
  }

  // Asks for what add_cond will read: of many layers' conditioning, a row is on a page of its own.
  __attribute__((always_inline)) void prefetch_cond(const Layer& l, int64_t row, int64_t first) const {
    if (!l.cond.data || l.cond.time_stride == 0 || lies_in_times(l.cond) || times[row] < 0) return;
    const int64_t size = storage_bytes(l.dtype);
    const char* from = static_cast<const char*>(l.cond.data) + (offset(l.cond, b, times[row]) + first) * size;
    __builtin_prefetch(from), __builtin_prefetch(from + l.D * size);
  }

  // Adds the conditioning of a row, which is that of time t, to its filter and gate from channel `first` on.
  void add_cond(const Layer& l, int64_t row, int64_t t, int64_t first, Vector& f, Vector& g) const {
    if (!l.cond.data) return;
    if (lies_in_times(l.cond)) {
      const Real* from = cond + row * cond_stride(l) + first;
      f += load(from), g += load(from + cond_stride(l) / 2);
      return;
    }
    f += load_row(l.cond, l.dtype, b, t, first, l.D - first);
    g += load_row(l.cond, l.dtype, b, t, l.D + first, l.D - first);
  }

  void place(const Layer& l, int64_t clip, int64_t begin, int64_t end, int64_t channels) {
    b = clip, units = end - begin;
    rows = place_rows(l, begin, end, times);
    for (int64_t c = 0; c < channels; ++c) zeros[c] = 0;
  }

  void gather_x(const Layer& l, bool fast) {
    if (as_it_lies(l)) return take_as_it_lies(l, b, times[0], rows, in);
    const Source x{l.x, l.dtype, b, -l.past, l.T, l.R, nullptr, nullptr, zeros, buffers};
    gather(l, x, times, units, rows, fast, in);
  }

  ConvWeights conv_weights(const Layer& l, Operator op, const void* packed) const {
    const auto bias = static_cast<const Real*>(l.conv_bias);
    return {static_cast<const Real*>(packed), conv_panels(l, op, paired(l)), conv_taps(l), bias, panel};
  }
};

// All panels of a plain convolution: `finish(row, first column, columns there, vector)` for each vector of results.
template <class Finish>
inline void sweep_conv(const Tile& tile, int64_t K, const ConvWeights& weights, Finish&& finish) {
  const Panels& p = weights.packed_panels;
  PanelGroup group;
  for (int64_t panel = 0; panel < p.count(); ++panel) {
    const int64_t first = panel * kPanel, there = p.columns - first;
    const Real* packed = weights.come_to(panel, tile.in, group);
    if (p.vectors(panel) == 2) {
      convolve<2>(tile.in, K, tile.units, tile.rows, packed, panel, group, [&](int64_t row, const Vector* columns) {
        finish(row, first, there, columns[0]);
        finish(row, first + kLanes, there - kLanes, columns[1]);
      });
    } else {
      convolve<1>(tile.in, K, tile.units, tile.rows, packed, panel, group,
                  [&](int64_t row, const Vector* columns) { finish(row, first, there, columns[0]); });
    }
  }
}

// The same of rows [begin, end) of a product with matrices side by side, as the 1x1s are.
template <int VECTORS, class Finish>
inline void sweep_panel(const Matrix* matrices, int64_t count, int64_t begin, int64_t end, const Real* first,
                        int64_t panel, PanelGroup& group, Finish&& finish) {
  Segment segments[2];
  for (int64_t i = begin, n; i < end; i += n) {
    n = block_size(end - i);
    Vector* y = group.y0 + group.at(i - begin, panel, n, VECTORS);
    if (panel == group.first) {
      for (int64_t s = 0; s < count; ++s) segments[s] = Segment(matrices[s], i);
      const Real* weights = first + VECTORS * kLanes;
      const Start biases(first, group.by_panel);
      accumulate_block<VECTORS>(n, group.count, {segments, count, weights, group.by_panel, biases}, y);
    }
    for (int64_t m = 0; m < n; ++m) finish(i + m, y + m * VECTORS);
  }
}

template <class Finish>
inline void sweep(const Matrix* matrices, int64_t count, int64_t begin, int64_t end, const Panels& p,
                  const Real* packed, Finish&& finish) {
  PanelGroup group;
  for (int64_t panel = 0; panel < p.count(); ++panel) {
    const int64_t first = panel * kPanel, there = p.columns - first;
    p.come_to(panel, end - begin, group);
    const Real* from = packed + p.offset(group.first);
    if (p.vectors(panel) == 2) {
      sweep_panel<2>(matrices, count, begin, end, from, panel, group, [&](int64_t row, const Vector* columns) {
        finish(row, first, there, columns[0]);
        finish(row, first + kLanes, there - kLanes, columns[1]);
      });
    } else {
      sweep_panel<1>(matrices, count, begin, end, from, panel, group,
                     [&](int64_t row, const Vector* columns) { finish(row, first, there, columns[0]); });
    }
  }
}

// The gate, to as many digits as are stored.
#if WAVENET_PAIRS
inline Vector gated(Vector f, Vector g) { return short_gate(f, g); }
inline GateAndSlopes gated_and_slopes(Vector f, Vector g) { return short_gate_and_slopes(f, g); }
#else
inline Vector gated(Vector f, Vector g) { return gate(f, g); }
inline GateAndSlopes gated_and_slopes(Vector f, Vector g) { return gate_and_slopes(f, g); }
#endif

// The panels of a gated convolution: `finish(row, first column, columns there, filter, gate)`, conditioning added.
template <class Finish>
inline void sweep_gated(const Layer& l, Tile& tile, const ConvWeights& weights, Finish&& finish) {
  if (Tile::lies_in_times(l.cond)) tile.gather_cond(l);
  PanelGroup group;
  for (int64_t panel = 0; panel < weights.packed_panels.count(); ++panel) {
    const int64_t first = panel * kLanes, there = l.D - first;
    const Real* packed = weights.come_to(panel, tile.in, group);
    convolve<2>(tile.in, l.K, tile.units, tile.rows, packed, panel, group,
                [&](int64_t row, const Vector* a) {
                  Vector f = a[0], g = a[1];
                  const int64_t t = tile.times[row];
                  if (t >= 0) tile.add_cond(l, row, t, first, f, g);
                  if (row + kBlockRows < tile.rows) tile.prefetch_cond(l, row + kBlockRows, first);
                  finish(row, first, there, f, g);
                });
  }
}

// Asks for one of `panels` parts of a row that the 1x1s will write later, so that it is in cache by then: such
// rows come from beyond L2, and each 1x1 panel touches too little of a row for the processor to foresee the
// next. Measured on a Zen 4 at R=D=64, S=128: 8 % of a layer. (Always inlined: GCC 12 drops calls of a function that
// does nothing but prefetch. No division: this runs for every row and panel.)
__attribute__((always_inline)) inline void prefetch_share(const Rows& rows, DType dtype, int64_t channels, int64_t b,
                                                          int64_t t, int64_t panel, int64_t panels) {
  if (!rows.data) return;
  const int64_t size = storage_bytes(dtype);
  const char* from = static_cast<const char*>(rows.data) + offset(rows, b, t) * size;
  for (int64_t at = panel * 64; at < channels * size; at += panels * 64) __builtin_prefetch(from + at, 1, 2);
}

// What goes into the gates, kept for backward. Apart, so that what is around it stays as small as it was.
__attribute__((noinline)) inline void keep_gates(const Layer& l, int64_t b, int64_t t, int64_t first, Vector f,
                                                 Vector g) {
  store_row_for_later(l.a, l.dtype, b, t, first, f, l.D - first);
  store_row_for_later(l.a, l.dtype, b, t, l.D + first, g, l.D - first);
}

inline void add_cond_block(const Layer& l, int64_t b, int64_t t, int64_t rows, int64_t first, Vector* f, Vector* g) {
  if (!l.cond.data) return;
  Vector more[kLanes];
  load_block(l.cond, l.dtype, b, t, rows, first, l.D - first, more);
  for (int64_t i = 0; i < rows; ++i) f[i] += more[i];
  load_block(l.cond, l.dtype, b, t, rows, l.D + first, l.D - first, more);
  for (int64_t i = 0; i < rows; ++i) g[i] += more[i];
}

inline void gate_rows(const Layer& l, int64_t b, int64_t begin, int64_t end) {
  for_blocks(begin, end, l.D, [&](int64_t t, int64_t rows, int64_t first) {
    const int64_t there = l.D - first;
    Vector f[kLanes], g[kLanes];
    load_block(l.a, l.dtype, b, t, rows, first, there, f);
    load_block(l.a, l.dtype, b, t, rows, l.D + first, there, g);
    add_cond_block(l, b, t, rows, first, f, g);
    for (int64_t i = 0; i < rows; ++i) {
      store_row(l.z, l.dtype, b, t + i, first, gated(f[i], g[i]), there);
    }
  });
}

int64_t scratch_bytes(const Layer& l, Operator op, int64_t units) {
  if (op == Operator::gate) return 0;
  Scratch scratch(nullptr);
  const Tile tile(scratch, l, units, l.R);
  if (op == Operator::block) Matrix::take(scratch, tile.rows, l.D);
  return scratch.used();
}

// Units [begin, end) of clip b.
void tile(const Layer& l, Operator op, const void* packed, int64_t b, int64_t begin, int64_t end, void* memory) {
#if !WAVENET_FORWARD_ONLY
  if (op == Operator::gate) return gate_rows(l, b, begin, end);
#endif
  const Amx amx(larger(l.R, l.D));
  Scratch scratch(memory);
  Tile tile(scratch, l, end - begin, l.R);
  tile.place(l, b, begin, end, l.R);
  const ConvWeights weights = tile.conv_weights(l, op, packed);
  tile.gather_x(l, paired(l) && weights.finite());
  const int64_t* times = tile.times;

  if (op == Operator::conv) {
    sweep_conv(tile, l.K, weights, [&](int64_t row, int64_t first, int64_t there, Vector a) {
      if (times[row] >= 0) store_row(l.a, l.dtype, b, times[row], first, a, there);
    });
    return;
  }
#if !WAVENET_FORWARD_ONLY
  if (op == Operator::gated_conv) {
    sweep_gated(l, tile, weights, [&](int64_t row, int64_t first, int64_t there, Vector f, Vector g) {
      if (times[row] >= 0) store_row(l.z, l.dtype, b, times[row], first, gated(f, g), there);
    });
    return;
  }
#endif

  const Matrix z = Matrix::take(scratch, tile.rows, l.D);
  const int64_t panels = weights.packed_panels.count();
  sweep_gated(l, tile, weights, [&](int64_t row, int64_t first, int64_t, Vector f, Vector g) {
    put(z, row, first, gated(f, g));
    if (times[row] < 0) return;
    if (l.a.data) keep_gates(l, b, times[row], first, f, g);
    prefetch_share(l.skip, l.dtype, l.S, b, times[row], first / kLanes, panels);
    prefetch_share(l.residual, l.dtype, l.R, b, times[row], first / kLanes, panels);
  });
  const Real* out = static_cast<const Real*>(packed) + weights.packed_panels.reals();
  const Panels residual = residual_panels(l, op), skip = skip_panels(l, op);
  const Real scale = static_cast<Real>(l.residual_scale);
  sweep(&z, 1, 0, tile.rows, residual, out, [&](int64_t row, int64_t first, int64_t there, Vector o) {
    if (times[row] < 0) return;
    const Vector x = load_row(l.x, l.dtype, b, times[row], first, there);
    store_row(l.residual, l.dtype, b, times[row], first, (x + o) * scale, there);
  });
  sweep(&z, 1, 0, tile.rows, skip, out + residual.reals(), [&](int64_t row, int64_t first, int64_t there, Vector o) {
    if (times[row] < 0) return;
    if (l.accumulate_skip) o += load_row(l.skip, l.dtype, b, times[row], first, there);
    store_row(l.skip, l.dtype, b, times[row], first, o, there);
  });
  if (l.a.data) end_stores_for_later();  // of keep_gates, which nothing above it has
}
