// The gradient of a layer, or of the part of it that an operator is, in two passes over tiles of rows. Included by
// isa.cpp.
//
//   pass 1   x -> a -> z, tanh', sigmoid' (recomputed, all or but a, which may have been kept)
//            gz = s gr V_r + gs V_s -> ga = gz * (tanh', sigmoid')      to memory: pass 2 needs that of other rows
//            partial sums over the tile's rows:                         gV += go^T z,  gW_k += ga^T x_k,  gv, gb
//   pass 2   gx = s gr + sum_k ga[t + left - k d] W_k                   a convolution whose taps look ahead
//
// gW comes in the terms of fast.h too: with gy0 and gy1 the gradients of a unit's outputs, each product m_j of
// inputs and a weight has the gradient gm_j (gy0; gy0 + gy1; gy0 - gy1; gy1), and gm_j^T inputs_j summed over the
// units is that of the weight it was made with. An infinite ga or x, and the tile is done the plain way.
//
// The sums of pass 1 go to the slice of memory of the group of tiles at hand; run_backward.cpp adds the slices
// up in a fixed order, so no sum depends on the number of threads.
#pragma once

inline bool recomputes(const Gradient& g, Operator op) {
  return op == Operator::gated_conv || (op == Operator::block && !g.layer.a.data);
}

inline Panels gz_panels(const Gradient& g, Operator op) {
  const int64_t depth = (g.grad_residual.data ? cells_of(g.layer.R) : 0) + (g.grad_skip.data ? cells_of(g.layer.S) : 0);
  return {op == Operator::block ? g.layer.D : 0, depth};
}
inline Taps gz_taps(const Gradient& g) {
  const Layer& l = g.layer;
  const int64_t residual = g.grad_residual.data ? l.R : 0, skip = g.grad_skip.data ? l.S : 0;
  const Real* first = static_cast<const Real*>(l.out_weight) + (residual ? 0 : l.R * l.D);
  return {first, 1, residual + skip, 1, 0, l.D, residual};
}

// Pass 2 is a convolution of ga, the taps in reverse and each of them transposed.
inline Layer look_ahead(const Gradient& g) {
  Layer ahead = g.layer;
  ahead.R = g.layer.C, ahead.C = g.layer.R, ahead.cond = {};
  ahead.left = (g.layer.K - 1) * g.layer.dilation - g.layer.left;
  return ahead;
}
inline Panels gx_panels(const Gradient& g, bool fast) {
  const Layer& l = g.layer;
  return {g.grad_x.data ? l.R : 0, terms(l.K, fast) * cells_of(l.C)};
}
inline Taps gx_taps(const Gradient& g) {
  const Layer& l = g.layer;
  return {static_cast<const Real*>(l.conv_weight) + l.K - 1, l.K, l.C, l.K, -1, l.R * l.K};
}

inline Panels recomputed_panels(const Gradient& g, Operator op) {
  return recomputes(g, op) ? conv_panels(g.layer, op, paired(g.layer)) : Panels{0, 0};
}

int64_t backward_packed_reals(const Gradient& g, Operator op) {
  return recomputed_panels(g, op).reals() + gz_panels(g, op).reals() + gx_panels(g, paired(g.layer)).reals();
}

int64_t backward_pack_units(const Gradient& g, Operator op) {
  return recomputed_panels(g, op).count() + gz_panels(g, op).count() + gx_panels(g, paired(g.layer)).count();
}

void backward_pack(const Gradient& g, Operator op, int64_t unit, void* packed) {
  const Layer& l = g.layer;
  Real* to = static_cast<Real*>(packed);
  const Panels conv = recomputed_panels(g, op), gz = gz_panels(g, op), gx = gx_panels(g, paired(l));
  if (unit < conv.count()) {
    const auto bias = static_cast<const Real*>(l.conv_bias);
    return pack_at(conv, unit, conv_taps(l), bias, paired(l), to);
  }
  unit -= conv.count(), to += conv.reals();
  if (unit < gz.count()) return pack_at(gz, unit, gz_taps(g), nullptr, false, to);
  unit -= gz.count(), to += gz.reals();
  pack_at(gx, unit, gx_taps(g), nullptr, paired(l), to);
}

// The tile's rows of a tensor, scaled; zeros for rows that don't exist.
inline void load_matrix(const Rows& from, DType dtype, const Tile& tile, Real scale, const Matrix& to) {
  const bool whole = from.channel_stride == 1 && dtype == kNative && to.channels % kLanes == 0;
  for (int64_t i = 0; i < tile.rows; ++i) {
    const int64_t t = tile.times[i];
    if (whole && t >= 0) {
      const Stored* row = static_cast<const Stored*>(from.data) + offset(from, tile.b, t);
      for (int64_t c = 0; c < to.channels; c += kLanes) put(to, i, c, load_stored(row + c) * scale);
      continue;
    }
    for (int64_t c = 0; c < to.channels; c += kLanes) {
      put(to, i, c, t < 0 ? Vector{} : load_row(from, dtype, tile.b, t, c, to.channels - c) * scale);
    }
  }
}

template <int VECTORS>
inline void add_block(Real* to, int64_t stride, int64_t columns, const Vector* sums) {
  for (int64_t i = 0; i < columns; ++i) {
    for (int64_t j = 0; j < VECTORS; ++j) {
      Real* at = to + i * stride + j * kLanes;
      store(at, load(at) + sums[i * VECTORS + j]);
    }
  }
}

// to (a's columns, stride) += a^T b over the rows.
template <int VECTORS>
inline void add_product(const RealMatrix& a, const RealMatrix& b, int64_t rows, int64_t column, Real* to, int64_t stride) {
  for (int64_t first = 0; first < a.channels; first += kDepth) {
    const int64_t end = smaller(first + kDepth, a.channels);
    Vector sums[kDepth * VECTORS];
    outer_panel<VECTORS>(a, first, end, b, column, rows, sums);
    add_block<VECTORS>(to + first * stride + column, stride, end - first, sums);
  }
}

// The gradients of the terms' products: ga of the first rows, of the second ones, and what is made of both.
struct TermGradients {
  RealMatrix first, second, sum, difference;
};

// to (K, ga's columns, stride) += the gradient of the weights of a fast convolution, `tap` from one weight to the next.
// Panel by panel of ga, and term by term.
template <int VECTORS>
inline void add_fast_product(const TermGradients& g, const Inputs& in, int64_t K, bool second_rows, int64_t column,
                             Real* to, int64_t stride, int64_t tap) {
  for (int64_t first = 0; first < g.first.channels; first += kDepth) {
    const int64_t end = smaller(first + kDepth, g.first.channels), vectors = (end - first) * VECTORS;
    Vector low[kDepth * VECTORS], middle[kDepth * VECTORS], high[kDepth * VECTORS];
    const auto product = [&](const RealMatrix& a, int64_t j, Vector* sums) {
      outer_panel<VECTORS>(a, first, end, as_reals(in.term(j)), column, in.height, sums);
    };
    product(g.first, 0, low);
    product(g.sum, 1, middle);
    if (second_rows) {
      product(g.second, K, high);
    } else {
      for (int64_t i = 0; i < vectors; ++i) high[i] = Vector{};
    }
    Real* at = to + first * stride + column;
    if (K == 2) {
      for (int64_t i = 0; i < vectors; ++i) low[i] += middle[i], high[i] += middle[i];
    } else {
      Vector other[kDepth * VECTORS];
      product(g.difference, 2, other);
      for (int64_t i = 0; i < vectors; ++i) {
        const Vector half_sum = Real(0.5) * (middle[i] + other[i]);
        middle[i] = Real(0.5) * (middle[i] - other[i]);
        low[i] += half_sum, high[i] += half_sum;
      }
      add_block<VECTORS>(at + tap, stride, end - first, middle);
    }
    add_block<VECTORS>(at, stride, end - first, low);
    add_block<VECTORS>(at + (K - 1) * tap, stride, end - first, high);
  }
}

// gW_k += ga^T x_k over the units of a tile, in the terms of fast.h, for the channels of `ga`; `to` is at their first
// row of gW_0.
inline void add_fast_gradient(const Layer& l, const Tile& tile, const RealMatrix& ga, const RealMatrix* made, Real* to,
                              int64_t stride) {
  const int64_t tap = l.C * stride, units = tile.units;
  const bool second_rows = tile.rows > units;
  const RealMatrix second{ga.at(units, 0), ga.rows, ga.channels};
  const TermGradients g{ga, second, second_rows ? made[0] : ga, second_rows ? made[1] : ga};
  for (int64_t i = 0; second_rows && i < units; ++i) {
    for (int64_t c = 0; c < ga.channels; c += kLanes) {
      const Vector first = load(ga.at(i, c)), second = load(ga.at(units + i, c));
      store(g.sum.at(i, c), first + second);
      if (l.K == 3) store(g.difference.at(i, c), first - second);
    }
  }
  for (int64_t column = 0; column < l.R; column += kPanel) {
    const auto add = l.R - column > kLanes ? add_fast_product<2> : add_fast_product<1>;
    add(g, tile.in, l.K, second_rows, column, to, stride, tap);
  }
}

// to (a's columns, stride) += a^T b, all columns of both.
inline void add_products(const RealMatrix& a, const RealMatrix& b, int64_t rows, Real* to, int64_t stride) {
  for (int64_t column = 0; column < b.channels; column += kPanel) {
    (b.channels - column > kLanes ? add_product<2> : add_product<1>)(a, b, rows, column, to, stride);
  }
}

// to (columns) = or += the sum of the rows, in chains; of several vectors of columns at a time, as each addition waits for
// the one before it.
template <int VECTORS>
inline void sum_columns(const Matrix& m, int64_t rows, int64_t column, Real* to, bool add) {
  Vector totals[VECTORS] = {};
  const auto at = [&](int j) { return column + j * kLanes; };
  for (int j = 0; add && j < VECTORS; ++j) totals[j] = load_first(to + at(j), m.channels - at(j));
  for (int64_t first = 0; first < rows; first += kChain) {
    Vector sums[VECTORS] = {};
    for (int64_t i = first; i < smaller(first + kChain, rows); ++i) {
      WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) sums[j] += get(m, i, at(j));
    }
    for (int j = 0; j < VECTORS; ++j) totals[j] += sums[j];
  }
  for (int j = 0; j < VECTORS; ++j) store_first(to + at(j), totals[j], m.channels - at(j));
}

inline void sum_rows(const Matrix& m, int64_t rows, Real* to, bool add) {
  int64_t c = 0;
  for (; m.channels - c > 3 * kLanes; c += 4 * kLanes) sum_columns<4>(m, rows, c, to, add);
  for (; c < m.channels; c += kLanes) sum_columns<1>(m, rows, c, to, add);
}

// The memory of pass 1. Of a bare convolution, ga[0] has all channels; else filter and gate are apart.
struct BackwardTile {
  Tile tile;
  int64_t* ring_at;
  Matrix z, ga[2], gr, gs;
  RealMatrix slopes[2];  // what becomes ga, in its place where it is Reals too
  RealMatrix made[2];
  RealMatrix left[2], right;  // room for with_rows_in_cells
  int64_t parts;              // of ga

  BackwardTile(Scratch& scratch, const Gradient& g, Operator op, int64_t units)
      : tile(scratch, g.layer, units, g.layer.R), parts(op == Operator::conv ? 1 : 2) {
    const Layer& l = g.layer;
    const int64_t rows = units * rows_per_unit(l), channels = l.C / parts;
    ring_at = scratch.take<int64_t>(rows);
    const bool in_pairs = kPerCell > 1, block = op == Operator::block;
    for (int64_t p = 0; p < parts; ++p) {
      ga[p] = Matrix::take(scratch, rows, channels);
      slopes[p] = in_pairs && op != Operator::conv ? RealMatrix::take(scratch, rows, channels) : as_reals(ga[p]);
    }
    z = Matrix::take(scratch, rows, block ? l.D : 0);
    gr = Matrix::take(scratch, rows, block && g.grad_residual.data ? l.R : 0);
    gs = Matrix::take(scratch, rows, block && g.grad_skip.data ? l.S : 0);
    for (RealMatrix& m : made) m = RealMatrix::take(scratch, paired(l) ? units : 0, channels);
    const int64_t cells = in_pairs ? cells_of(rows) : 0;
    for (RealMatrix& m : left) m = RealMatrix::take(scratch, cells, larger(channels, block ? larger(l.R, l.S) : 0));
    right = RealMatrix::take(scratch, cells, larger(l.R, block ? l.D : 0));
  }
};

inline void gate_gradient_rows(const Gradient& g, int64_t b, int64_t begin, int64_t end) {
  const Layer& l = g.layer;
  for_blocks(begin, end, l.D, [&](int64_t t, int64_t rows, int64_t first) {
    const int64_t there = l.D - first;
    Vector f[kLanes], s[kLanes], gz[kLanes];
    load_block(l.a, l.dtype, b, t, rows, first, there, f);
    load_block(l.a, l.dtype, b, t, rows, l.D + first, there, s);
    load_block(g.grad_z, l.dtype, b, t, rows, first, there, gz);
    add_cond_block(l, b, t, rows, first, f, s);
    for (int64_t i = 0; i < rows; ++i) {
      const GateAndSlopes all = gated_and_slopes(f[i], s[i]);
      store_row(g.grad_a, l.dtype, b, t + i, first, gz[i] * all.filter, there);
      store_row(g.grad_a, l.dtype, b, t + i, l.D + first, gz[i] * all.gate, there);
    }
  });
}

// What keep_gates has kept, and the same of what is computed again, so that both give the same bits.
__attribute__((noinline)) inline void load_gates(const Layer& l, int64_t b, int64_t t, int64_t first, Vector& f,
                                                 Vector& g) {
  f = load_row(l.a, l.dtype, b, t, first, l.D - first);
  g = load_row(l.a, l.dtype, b, t, l.D + first, l.D - first);
}
__attribute__((noinline)) inline void round_gates(const Layer& l, Vector& f, Vector& g) {
  f = as_stored(l.dtype, f), g = as_stored(l.dtype, g);
}

// For tiles of `units` in pass 1 and of `x_units` in pass 2.
int64_t backward_scratch_bytes(const Gradient& g, Operator op, int64_t units, int64_t x_units) {
  if (op == Operator::gate) return 0;
  Scratch first(nullptr), second(nullptr);
  const BackwardTile pass1(first, g, op, units);
  const Tile pass2(second, look_ahead(g), x_units, g.layer.C);
  return larger(first.used(), second.used());
}

// Pass 1 on units [begin, end) of clip b. The tile's sums of ga go to ga_sums (C of them).
void backward_tile(const Gradient& g, Operator op, const void* packed, int64_t b, int64_t begin, int64_t end,
                   void* memory, const Slice& to, void* ga_sums) {
  if (op == Operator::gate) return gate_gradient_rows(g, b, begin, end);
  const Amx amx;
  const Layer& l = g.layer;
  Scratch scratch(memory);
  BackwardTile all(scratch, g, op, end - begin);
  Tile& tile = all.tile;
  tile.place(l, b, begin, end, l.R);
  const ConvWeights weights = tile.conv_weights(l, op, packed);  // not packed for a bare convolution
  const bool recompute = recomputes(g, op);
  if (recompute || to.conv_weight) tile.gather_x(l, paired(l) && (!recompute || weights.finite()));
  const int64_t first_unit = b * unit_count(l) + begin;
  for (int64_t i = 0; g.ring.data && i < tile.units; ++i) {
    const int64_t at = (first_unit + i) % g.ring.units * rows_per_unit(l);
    for (int64_t j = 0; j * tile.units < tile.rows; ++j) all.ring_at[j * tile.units + i] = (at + j) * g.ring.channels;
  }

  Vector nothing = {};  // stays zero as long as every ga is finite
  if (op == Operator::conv) {
    load_matrix(g.grad_a, l.dtype, tile, 1, all.ga[0]);
    for (int64_t i = 0; i < tile.rows; ++i) {
      for (int64_t c = 0; c < l.C; c += kLanes) nothing += get(all.ga[0], i, c) * Real(0);
    }
  } else {
    const int64_t panels = ceil_div(l.D, kLanes);
    const auto gate = [&](int64_t row, int64_t first, Vector f, Vector s) {
      GateAndSlopes slopes{};  // zeros for rows that don't exist, whatever the weights are
      if (tile.times[row] >= 0) {
        prefetch_share(g.grad_skip, l.dtype, l.S, b, tile.times[row], first / kLanes, panels);
        prefetch_share(g.grad_residual, l.dtype, l.R, b, tile.times[row], first / kLanes, panels);
        slopes = gated_and_slopes(f, s);
      }
      if (op == Operator::block) put(all.z, row, first, slopes.z);
      store(all.slopes[0].at(row, first), slopes.filter), store(all.slopes[1].at(row, first), slopes.gate);
    };
    if (recompute) {
      sweep_gated(l, tile, weights, [&](int64_t row, int64_t first, int64_t, Vector f, Vector s) {
        if (kPerCell > 1) f = as_stored(l.dtype, f), s = as_stored(l.dtype, s);
        else if (l.dtype != kNative) round_gates(l, f, s);
        gate(row, first, f, s);
      });
    } else {
      for (int64_t i = 0; i < tile.rows; ++i) {
        const int64_t t = tile.times[i];
        if (i + kAhead < tile.rows && tile.times[i + kAhead] >= 0) {
          const int64_t size = storage_bytes(l.dtype);
          const char* later = static_cast<const char*>(l.a.data) + offset(l.a, b, tile.times[i + kAhead]) * size;
          for (int64_t at = 0; at < l.C * size; at += 64) __builtin_prefetch(later + at);
        }
        for (int64_t c = 0; c < l.D; c += kLanes) {
          Vector f = {}, s = {};
          if (t >= 0) load_gates(l, b, t, c, f, s);
          gate(i, c, f, s);
        }
      }
    }
    const auto finish = [&](int64_t row, int64_t first, int64_t there, Vector gz) __attribute__((always_inline)) {
      if (tile.times[row] < 0) gz = Vector{};  // 0 times an infinite weight is NaN
      const Vector f = gz * load(all.slopes[0].at(row, first)), s = gz * load(all.slopes[1].at(row, first));
      put(all.ga[0], row, first, f), put(all.ga[1], row, first, s);
      nothing += f * Real(0) + s * Real(0);
      if (tile.times[row] < 0) return;
      if (g.grad_a.data) {
        store_row(g.grad_a, l.dtype, b, tile.times[row], first, f, there);
        store_row(g.grad_a, l.dtype, b, tile.times[row], l.D + first, s, there);
      }
      if (g.ring.data) {
        Stored* ring = static_cast<Stored*>(g.ring.data) + all.ring_at[row];
        store_first_stored(ring + first, f, there), store_first_stored(ring + l.D + first, s, there);
      }
    };
    if (op == Operator::block) {
      Matrix go[2];
      int64_t count = 0;
      if (all.gr.channels) {
        load_matrix(g.grad_residual, l.dtype, tile, static_cast<Real>(l.residual_scale), all.gr);
        go[count++] = all.gr;
      }
      if (all.gs.channels) {
        load_matrix(g.grad_skip, l.dtype, tile, 1, all.gs);
        go[count++] = all.gs;
      }
      const Real* gz_packed = static_cast<const Real*>(packed) + recomputed_panels(g, op).reals();
      // Some rows after others, so that those of go stay in L2 for all panels.
      constexpr int64_t kRowsInL2 = 96;
      for (int64_t row = 0; row < tile.rows; row += kRowsInL2) {
        sweep(go, count, row, smaller(row + kRowsInL2, tile.rows), gz_panels(g, op), gz_packed, finish);
      }
    } else {
      for (int64_t i = 0; i < tile.rows; ++i) {
        for (int64_t c = 0; c < l.D; c += kLanes) {
          Vector gz = {};
          if (tile.times[i] >= 0) gz = load_row(g.grad_z, l.dtype, b, tile.times[i], c, l.D - c);
          finish(i, c, l.D - c, gz);
        }
      }
    }
  }

  if (ga_sums) {
    for (int64_t p = 0; p < all.parts; ++p) {
      sum_rows(all.ga[p], tile.rows, static_cast<Real*>(ga_sums) + p * all.ga[p].channels, false);
    }
  }
  if (to.conv_weight) {
    if (tile.in.fast && !all_zero(nothing)) tile.gather_x(l, false);
    const auto row = [&](int64_t k, int64_t part) {
      return static_cast<Real*>(to.conv_weight) + (k * l.C + part * all.ga[part].channels) * to.r_stride;
    };
    if (kPerCell == 1 && tile.in.fast) {
      for (int64_t p = 0; p < all.parts; ++p) {
        add_fast_gradient(l, tile, as_reals(all.ga[p]), all.made, row(0, p), to.r_stride);
      }
    } else {
      RealMatrix ga[2] = {};
      for (int64_t p = 0; p < all.parts; ++p) {
        ga[p] = with_channels_as_rows(with_rows_in_cells(all.ga[p], tile.rows, all.left[p]));
      }
      for (int64_t k = 0; k < l.K; ++k) {
        const RealMatrix x = with_rows_in_cells(tile.in.term(k), tile.rows, all.right);
        for (int64_t p = 0; p < all.parts; ++p) add_products(ga[p], x, cells_of(tile.rows), row(k, p), to.r_stride);
      }
    }
  }
  if (to.out_weight || to.out_bias) {
    const RealMatrix z = to.out_weight ? with_rows_in_cells(all.z, tile.rows, all.right) : RealMatrix{};
    const auto add = [&](const Matrix& go, int64_t first) {
      if (to.out_weight) {
        Real* first_row = static_cast<Real*>(to.out_weight) + first * to.d_stride;
        const RealMatrix left = with_channels_as_rows(with_rows_in_cells(go, tile.rows, all.left[0]));
        add_products(left, z, cells_of(tile.rows), first_row, to.d_stride);
      }
      if (to.out_bias) sum_rows(go, tile.rows, static_cast<Real*>(to.out_bias) + first, true);
    };
    if (all.gr.channels) add(all.gr, 0);
    if (all.gs.channels) add(all.gs, l.R);
  }
}

// Pass 2 on units [begin, end) of clip b.
void backward_x_tile(const Gradient& g, Operator op, const void* packed, int64_t b, int64_t begin, int64_t end,
                     void* memory) {
  const Layer& l = g.layer;
  const Layer ahead = look_ahead(g);
  const Amx amx(l.C);
  Scratch scratch(memory);
  Tile tile(scratch, ahead, end - begin, l.C);
  tile.place(l, b, begin, end, l.C);
  const int64_t before = recomputed_panels(g, op).reals() + gz_panels(g, op).reals();
  const Real* gx_packed = static_cast<const Real*>(packed) + before;
  const ConvWeights weights{gx_packed, gx_panels(g, paired(l)), gx_taps(g), nullptr, tile.panel};
  const Ring* ring = g.ring.data ? &g.ring : nullptr;
  gather(ahead, Source{g.grad_a, l.dtype, b, 0, l.T, l.C, ring, &g.layer, tile.zeros, tile.buffers}, tile.times,
         tile.units, tile.rows, paired(l) && weights.finite(), tile.in);
  const Real scale = static_cast<Real>(l.residual_scale);
  const Rows& written = g.grad_residual.data ? g.grad_residual : g.grad_x;
  for (int64_t i = 0; i < tile.rows; ++i) {
    if (tile.times[i] >= 0) prefetch_share(written, l.dtype, l.R, b, tile.times[i], 0, 1);
  }
  sweep_conv(tile, l.K, weights, [&](int64_t row, int64_t first, int64_t there, Vector gx) {
    const int64_t t = tile.times[row];
    if (t < 0) return;
    // grad_x may be grad_residual itself: each element is read before it is written.
    if (g.grad_residual.data) gx += load_row(g.grad_residual, l.dtype, b, t, first, there) * scale;
    store_row(g.grad_x, l.dtype, b, t, first, gx, there);
  });
}

// to[i * to_stride] = the sum of slices[n * stride + i] over n, in chains, for i < count.
void sum_slices(const void* slices, int64_t stride, int64_t number, int64_t count, void* to, int64_t to_stride) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const Real* from = static_cast<const Real*>(slices) + i;
    Vector total = {};
    for (int64_t first = 0; first < number; first += kChain) {
      Vector sum = {};
      for (int64_t n = first; n < smaller(first + kChain, number); ++n) sum += load_first(from + n * stride, count - i);
      total += sum;
    }
    Real* out = static_cast<Real*>(to) + i * to_stride;
    for (int64_t j = 0; j < smaller(kLanes, count - i); ++j) out[j * to_stride] = total[j];
  }
}

// A row of Reals becomes activations.
void store_reals(const void* from, int64_t count, DType dtype, void* to) {
  for (int64_t i = 0; i < count; i += kLanes) {
    store_as(dtype, to, i, load_first(static_cast<const Real*>(from) + i, count - i), count - i);
  }
}
