// The gradient of one residual layer, in two passes over tiles of rows. Included by isa.cpp.
//
//   pass 1   x -> a -> z, tanh', sigmoid' (recomputed)      go = [s gr ; gs]
//            gz = go V -> ga = gz * (tanh', sigmoid')       ga to memory: pass 2 needs that of other rows
//            partial sums over the tile's rows:             gV += go^T z,  gW_k += ga^T x_k,  gv, gb
//   pass 2   gx = s gr + sum_k ga[t + left - k d] W_k       a convolution whose taps look ahead
//
// The sums of pass 1 go to the slice of memory of the group of tiles at hand; run_backward.cpp adds the slices
// up in a fixed order, so no sum depends on the number of threads.
#pragma once

// Channels of the 1x1s' output whose gradient exists: all, or those of the skip alone.
inline int64_t out_channels(const Gradient& g) { return (g.grad_residual.data ? g.layer.R : 0) + g.layer.S; }
inline int64_t out_first(const Gradient& g) { return g.grad_residual.data ? 0 : g.layer.R; }

inline Panels gz_panels(const Gradient& g) { return Panels{g.layer.D, out_channels(g), false}; }
inline Panels gx_panels(const Gradient& g) {
  return Panels{g.grad_x.data ? g.layer.R : 0, g.layer.K * 2 * g.layer.D, false};
}

int64_t backward_packed_floats(const Gradient& g) {
  return conv_panels(g.layer, Operator::gated_conv).floats() + gz_panels(g).floats() + gx_panels(g).floats();
}

int64_t backward_pack_units(const Gradient& g) {
  return conv_panels(g.layer, Operator::gated_conv).count() + gz_panels(g).count() + gx_panels(g).count();
}

// A plain panel of a matrix whose element (column, k, c) is weight[column * by_column + k * by_tap + c * by_channel].
inline void pack_strided(const Panels& p, int64_t panel, const float* weight, int64_t by_column, int64_t taps,
                         int64_t by_tap, int64_t channels, int64_t by_channel, float* packed) {
  const int64_t first = panel * p.step(), width = p.vectors(panel) * kLanes;
  float* to = packed + p.offset(panel);
  for (int64_t j = 0; j < width; ++j) to[j] = 0.0f;  // no bias
  for (int64_t k = 0; k < taps; ++k) {
    for (int64_t c = 0; c < channels; ++c) {
      to += width;
      const float* from = weight + first * by_column + k * by_tap + c * by_channel;
      for (int64_t j = 0; j < width; ++j) to[j] = first + j < p.columns ? from[j * by_column] : 0.0f;
    }
  }
}

void backward_pack(const Gradient& g, int64_t unit, float* packed) {
  const Layer& l = g.layer;
  const auto weight = static_cast<const float*>(l.conv_weight), bias = static_cast<const float*>(l.conv_bias);
  const Panels conv = conv_panels(l, Operator::gated_conv), gz = gz_panels(g), gx = gx_panels(g);
  if (unit < conv.count()) return pack_panel(conv, unit, weight, bias, 0, l.K, l.R, packed);
  unit -= conv.count(), packed += conv.floats();
  if (unit < gz.count()) {
    const float* v = static_cast<const float*>(l.out_weight) + out_first(g) * l.D;
    return pack_strided(gz, unit, v, 1, 1, 0, out_channels(g), l.D, packed);
  }
  unit -= gz.count(), packed += gz.floats();
  pack_strided(gx, unit, weight, l.K, l.K, 1, 2 * l.D, l.R * l.K, packed);
}

// Rows of whole vectors, and of the x that a tap sees where R is not a whole number of them.
inline int64_t go_stride(const Gradient& g) { return round_up(out_channels(g), kLanes); }
inline int64_t x_stride(const Layer& l) { return l.R % kLanes == 0 ? 0 : round_up(l.R, kLanes); }

int64_t backward_scratch_bytes(const Gradient& g, int64_t rows) {
  const Layer& l = g.layer;
  // Edges of pass 2 are those of a convolution over 2D channels.
  const int64_t channels = larger(l.R, 2 * l.D);
  const int64_t edges = channels + 2 * l.K * kRows * channels;
  const int64_t floats = rows * (3 * z_stride(l) + go_stride(g) + x_stride(l)) + edges;
  return floats * static_cast<int64_t>(sizeof(float)) +
         max_blocks(rows) * l.K * static_cast<int64_t>(sizeof(Tap));
}

// z and what a gradient of z is multiplied by to give those of filter and gate.
struct GateAndSlopes {
  Vector z, filter, gate;
};

inline GateAndSlopes gate_and_slopes(Vector f, Vector g) {
  const Vector h = half_expm1(f);
  const Vector tanh = with_sign(h / (h + 1.0f), f);
  const Vector sigmoid = 1.0f / (exp_of_minus(g) + 1.0f);
  const Vector z = tanh * sigmoid;
  return {z, sigmoid * (1.0f - tanh * tanh), z * (1.0f - sigmoid)};
}

// to[m][n] += sum over rows of a[row][m] b[row][n]: ROWS rows and VECTORS vectors of `to` in registers. Chains of
// kChain rows, as in micro_kernel.h and for the same reason.
template <int ROWS, int VECTORS>
inline void add_products(int64_t rows, const float* a, int64_t a_stride, const float* b, int64_t b_stride,
                         float* to, int64_t to_stride) {
  for (int64_t n; rows > 0; rows -= n) {
    n = smaller(rows, kChain);
    Vector acc[ROWS][VECTORS];
    WAVENET_UNROLL for (int i = 0; i < ROWS; ++i) {
      WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) acc[i][j] = Vector{};
    }
    for (int64_t r = 0; r < n; ++r, a += a_stride, b += b_stride) {
      Vector w[VECTORS];
      WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) w[j] = load(b + j * kLanes);
      WAVENET_UNROLL for (int i = 0; i < ROWS; ++i) {
        const Vector v = broadcast(a[i]);
        WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) acc[i][j] += v * w[j];
      }
    }
    WAVENET_UNROLL for (int i = 0; i < ROWS; ++i) {
      WAVENET_UNROLL for (int j = 0; j < VECTORS; ++j) {
        float* out = to + i * to_stride + j * kLanes;
        store(out, load(out) + acc[i][j]);
      }
    }
  }
}

template <int VECTORS>
inline void add_columns(int64_t rows, const float* a, int64_t a_stride, int64_t a_columns, const float* b,
                        int64_t b_stride, float* to, int64_t to_stride) {
  for (int64_t m = 0, count; m < a_columns; m += count, a += count, to += count * to_stride) {
    count = block_size(a_columns - m);
    switch (count) {
      case kRows:
        add_products<kRows, VECTORS>(rows, a, a_stride, b, b_stride, to, to_stride);
        break;
      case 4:
        add_products<4, VECTORS>(rows, a, a_stride, b, b_stride, to, to_stride);
        break;
      case 2:
        add_products<2, VECTORS>(rows, a, a_stride, b, b_stride, to, to_stride);
        break;
      default:
        add_products<1, VECTORS>(rows, a, a_stride, b, b_stride, to, to_stride);
    }
  }
}

// to (a_columns, b_columns) += a^T b over `rows` rows; b and to have whole vectors of columns.
inline void add_transposed_product(int64_t rows, const float* a, int64_t a_stride, int64_t a_columns,
                                   const float* b, int64_t b_stride, int64_t b_columns, float* to,
                                   int64_t to_stride) {
  for (int64_t n = 0; n < b_columns; n += 2 * kLanes) {
    if (b_columns - n > kLanes) {
      add_columns<2>(rows, a, a_stride, a_columns, b + n, b_stride, to + n, to_stride);
    } else {
      add_columns<1>(rows, a, a_stride, a_columns, b + n, b_stride, to + n, to_stride);
    }
  }
}

// to (columns) += the sum of the rows, in chains.
void add_sum(int64_t rows, const float* a, int64_t stride, int64_t columns, float* to) {
  for (int64_t first = 0; first < rows; first += kChain) {
    const int64_t n = smaller(rows - first, kChain);
    for (int64_t c = 0; c < columns; c += kLanes) {
      Vector sum = {};
      for (int64_t r = first; r < first + n; ++r) sum += load_first(a + r * stride + c, columns - c);
      store_first(to + c, load_first(to + c, columns - c) + sum, columns - c);
    }
  }
}

// gW_k += ga^T x_k over rows [begin, end) of the tile, where tap k sees padding. That adds nothing, unless ga is
// infinite or NaN: then NaN, as it does where zeros are padded in memory.
inline void add_padded_gradient(const Gradient& g, int64_t b, int64_t begin, int64_t end, float* to,
                                int64_t to_stride) {
  for (int64_t t = begin; t < end; ++t) {
    const float* ga = row(g.grad_a, b, t);
    for (int64_t c = 0; c < 2 * g.layer.D; ++c) {
      const float nothing = 0.0f * ga[c];
      if (nothing == 0.0f) continue;
      for (int64_t r = 0; r < g.layer.R; ++r) to[c * to_stride + r] += nothing;
    }
  }
}

// gW_k += ga^T x_k over the rows of the tile.
inline void add_conv_gradient(const Gradient& g, int64_t b, int64_t begin, int64_t end, float* x_copy,
                              const Slice& to) {
  const Layer& l = g.layer;
  for (int64_t k = 0; k < l.K; ++k) {
    const int64_t shift = k * l.dilation - l.left;
    const int64_t first = smaller(larger(begin, -shift), end), last = larger(smaller(end, l.T - shift), first);
    float* to_tap = to.conv_weight + k * 2 * l.D * to.r_stride;
    add_padded_gradient(g, b, begin, first, to_tap, to.r_stride);
    add_padded_gradient(g, b, last, end, to_tap, to.r_stride);
    if (first == last) continue;
    const float* x = row(l.x, b, first + shift);
    int64_t stride = l.x.time_stride;
    if (x_stride(l)) {
      const int64_t padded = x_stride(l);
      for (int64_t i = 0; i < last - first; ++i) {
        for (int64_t r = 0; r < padded; ++r) x_copy[i * padded + r] = r < l.R ? x[i * stride + r] : 0.0f;
      }
      x = x_copy, stride = padded;
    }
    add_transposed_product(last - first, row(g.grad_a, b, first), g.grad_a.time_stride, 2 * l.D, x, stride, l.R,
                           to_tap, to.r_stride);
  }
}

void backward_tile(const Gradient& g, const float* packed, int64_t b, int64_t begin, int64_t end,
                   void* scratch, const Slice& to) {
  const Layer& l = g.layer;
  const int64_t rows = end - begin, zs = z_stride(l), gos = go_stride(g), channels = out_channels(g);
  float* z = static_cast<float*>(scratch);
  float *filter = z + rows * zs, *gate = filter + rows * zs, *go = gate + rows * zs;
  float* x_copy = go + rows * gos;
  Tap* taps = reinterpret_cast<Tap*>(x_copy + rows * x_stride(l));
  float* edges = reinterpret_cast<float*>(taps + max_blocks(rows) * l.K);
  for (int64_t r = 0; r < l.R; ++r) edges[r] = 0.0f;
  place_taps(l, b, begin, end, {taps, edges, edges + l.R});

  const Panels conv = conv_panels(l, Operator::gated_conv);
  for (int64_t panel = 0; panel < conv.count(); ++panel) {
    const int64_t first = panel * kLanes, there = l.D - first;
    sweep<2>(begin, end, taps, l.K, l.R, packed + conv.offset(panel), [&](int64_t t, const Vector* a) {
      Vector f = a[0], s = a[1];
      if (l.cond.data) {
        const float* c = row(l.cond, b, t) + first;
        f += load_first(c, there), s += load_first(c + l.D, there);
      }
      const GateAndSlopes all = gate_and_slopes(f, s);
      const int64_t at = (t - begin) * zs + first;
      store(z + at, all.z), store(filter + at, all.filter), store(gate + at, all.gate);
    });
  }
  packed += conv.floats();

  for (int64_t t = begin; t < end; ++t) {
    float* to_row = go + (t - begin) * gos;
    if (g.grad_residual.data) {
      const float* from = row(g.grad_residual, b, t);
      for (int64_t r = 0; r < l.R; ++r) to_row[r] = l.residual_scale * from[r];
      to_row += l.R;
    }
    if (l.S > 0) {
      const float* from = row(g.grad_skip, b, t);
      for (int64_t s = 0; s < l.S; ++s) to_row[s] = from[s];
    }
  }

  Tap* tap = taps;
  for (int64_t t = begin; t < end; t += block_size(end - t)) *tap++ = {go + (t - begin) * gos, gos};
  sweep_panels(gz_panels(g), begin, end, taps, 1, channels, packed,
               [&](int64_t t, int64_t first, int64_t there, Vector gz) {
                 const int64_t at = (t - begin) * zs + first;
                 float* ga = row(g.grad_a, b, t) + first;
                 store_first(ga, gz * load(filter + at), there);
                 store_first(ga + l.D, gz * load(gate + at), there);
               });

  if (to.out_weight) {
    add_transposed_product(rows, go, gos, channels, z, zs, l.D, to.out_weight + out_first(g) * to.d_stride,
                           to.d_stride);
    add_conv_gradient(g, b, begin, end, x_copy, to);
    add_sum(rows, go, gos, channels, to.out_bias + out_first(g));
    add_sum(rows, row(g.grad_a, b, begin), g.grad_a.time_stride, 2 * l.D, to.conv_bias);
  }
}

void backward_x_tile(const Gradient& g, const float* packed, int64_t b, int64_t begin, int64_t end,
                     void* scratch) {
  const Layer& l = g.layer;
  packed += conv_panels(l, Operator::gated_conv).floats() + gz_panels(g).floats();
  Layer ahead = l;  // row t reads ga[t + left - k d]
  ahead.R = 2 * l.D, ahead.x = g.grad_a, ahead.dilation = -l.dilation, ahead.left = -l.left;
  Tap* taps = static_cast<Tap*>(scratch);
  float* edges = reinterpret_cast<float*>(taps + max_blocks(end - begin) * l.K);
  for (int64_t c = 0; c < ahead.R; ++c) edges[c] = 0.0f;
  place_taps(ahead, b, begin, end, {taps, edges, edges + ahead.R});
  sweep_panels(gx_panels(g), begin, end, taps, l.K, ahead.R, packed,
               [&](int64_t t, int64_t first, int64_t there, Vector gx) {
                 // grad_x may be grad_residual itself: each element is read before it is written.
                 if (g.grad_residual.data) {
                   gx += load_first(row(g.grad_residual, b, t) + first, there) * l.residual_scale;
                 }
                 store_first(row(g.grad_x, b, t) + first, gx, there);
               });
}
