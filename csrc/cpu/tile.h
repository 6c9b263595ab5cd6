// One tile of rows through a layer, or through the part of it that an operator is. Included by isa.cpp.
//
//   for each panel of weights (stays in L1):  for each block of rows (registers):
//      convolution panels   x, taps in place  ->  a in registers  ->  gate  ->  z, a tile in L2
//      residual panels      z                 ->  s (x + V z + v) ->  residual
//      skip panels          z                 ->  skip (+)= V z + v
#pragma once

inline int64_t z_stride(const Layer& l) { return round_up(l.D, kLanes); }

// What a tile needs beside its inputs and outputs: z (aligned, as scratch is), the taps, and edge copies.
inline int64_t z_floats(const Layer& l, Operator op, int64_t rows) {
  return op == Operator::block ? rows * z_stride(l) : 0;
}

int64_t scratch_bytes(const Layer& l, Operator op, int64_t rows) {
  if (op == Operator::gate) return 0;
  const int64_t floats = z_floats(l, op, rows) + edge_floats(l);
  return floats * static_cast<int64_t>(sizeof(float)) +
         max_blocks(rows) * l.K * static_cast<int64_t>(sizeof(Tap));
}

// All blocks of rows [begin, end) against one panel. `finish(t, vectors)` gets each row's columns.
template <int VECTORS, class Finish>
inline void sweep(int64_t begin, int64_t end, const Tap* taps, int64_t K, int64_t channels,
                  const float* panel, Finish&& finish) {
  for (int64_t t = begin, rows; t < end; t += rows, taps += K) {
    rows = block_size(end - t);
    Vector totals[kRows * VECTORS];
    accumulate_block<VECTORS>(rows, taps, K, channels, panel, totals);
    for (int64_t i = 0; i < rows; ++i) finish(t + i, totals + i * VECTORS);
  }
}

// The plain panels of a matrix, `finish(t, first column, columns there, vector)` for each vector of results.
template <class Finish>
inline void sweep_panels(const Panels& p, int64_t begin, int64_t end, const Tap* taps, int64_t K,
                         int64_t channels, const float* packed, Finish&& finish) {
  for (int64_t panel = 0; panel < p.count(); ++panel) {
    const int64_t first = panel * kPanel, there = p.columns - first;
    const float* weights = packed + p.offset(panel);
    if (p.vectors(panel) == 2) {
      sweep<2>(begin, end, taps, K, channels, weights, [&](int64_t t, const Vector* columns) {
        finish(t, first, there, columns[0]);
        finish(t, first + kLanes, there - kLanes, columns[1]);
      });
    } else {
      sweep<1>(begin, end, taps, K, channels, weights,
               [&](int64_t t, const Vector* columns) { finish(t, first, there, columns[0]); });
    }
  }
}

// Asks for one of `panels` parts of a row that the 1x1s will write later, so that it is in cache by then: such
// rows come from beyond L2, and each 1x1 panel touches too little of a row for the processor to foresee the
// next. Measured on a Zen 4 at R=D=64, S=128: 8 % of a layer.
inline void prefetch_share(const Rows& rows, int64_t channels, int64_t b, int64_t t, int64_t panel,
                           int64_t panels) {
  if (!rows.data) return;
  const float* from = row(rows, b, t);
  for (int64_t c = channels * panel / panels; c < channels * (panel + 1) / panels; c += 16) {
    __builtin_prefetch(from + c, 1, 2);
  }
}

// Rows of z go to `z + (t - begin) * stride`, whole vectors of them when `padded`.
inline void gated_conv_tile(const Layer& l, const float* packed, int64_t b, int64_t begin, int64_t end,
                            const Tap* taps, float* z, int64_t stride, bool padded) {
  const Panels conv = conv_panels(l, Operator::gated_conv);
  for (int64_t panel = 0; panel < conv.count(); ++panel) {
    const int64_t first = panel * kLanes, there = l.D - first;
    sweep<2>(begin, end, taps, l.K, l.R, packed + conv.offset(panel), [&](int64_t t, const Vector* a) {
      Vector f = a[0], g = a[1];
      if (l.cond.data) {
        const float* c = row(l.cond, b, t) + first;
        f += load_first(c, there), g += load_first(c + l.D, there);
      }
      store_first(z + (t - begin) * stride + first, gate(f, g), padded ? kLanes : there);
      prefetch_share(l.skip, l.S, b, t, panel, conv.count());
      prefetch_share(l.residual, l.R, b, t, panel, conv.count());
    });
  }
}

inline void out_tile(const Layer& l, const float* packed, int64_t b, int64_t begin, int64_t end,
                     Tap* taps, const float* z) {
  Tap* tap = taps;
  for (int64_t t = begin; t < end; t += block_size(end - t)) *tap++ = {z + (t - begin) * z_stride(l), z_stride(l)};

  const Panels residual = residual_panels(l, Operator::block), skip = skip_panels(l, Operator::block);
  const float scale = l.residual_scale;
  sweep_panels(residual, begin, end, taps, 1, l.D, packed,
               [&](int64_t t, int64_t first, int64_t there, Vector o) {
                 const Vector x = load_first(row(l.x, b, t) + first, there);
                 store_first(row(l.residual, b, t) + first, (x + o) * scale, there);
               });
  packed += residual.floats();
  sweep_panels(skip, begin, end, taps, 1, l.D, packed,
               [&](int64_t t, int64_t first, int64_t there, Vector o) {
                 float* to = row(l.skip, b, t) + first;
                 store_first(to, l.accumulate_skip ? load_first(to, there) + o : o, there);
               });
}

inline void gate_tile(const Layer& l, int64_t b, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    const float *a = row(l.a, b, t), *c = l.cond.data ? row(l.cond, b, t) : nullptr;
    float* z = row(l.z, b, t);
    for (int64_t first = 0; first < l.D; first += kLanes) {
      const int64_t there = l.D - first;
      Vector f = load_first(a + first, there), g = load_first(a + l.D + first, there);
      if (c) f += load_first(c + first, there), g += load_first(c + l.D + first, there);
      store_first(z + first, gate(f, g), there);
    }
  }
}

void tile(const Layer& l, Operator op, const float* packed, int64_t b, int64_t begin, int64_t end,
          void* scratch) {
  if (op == Operator::gate) return gate_tile(l, b, begin, end);

  float* z = static_cast<float*>(scratch);
  Tap* taps = reinterpret_cast<Tap*>(z + z_floats(l, op, end - begin));
  float* edges = reinterpret_cast<float*>(taps + max_blocks(end - begin) * l.K);
  for (int64_t r = 0; r < l.R; ++r) edges[r] = 0.0f;
  place_taps(l, b, begin, end, {taps, edges, edges + l.R});

  if (op == Operator::conv) {
    sweep_panels(conv_panels(l, op), begin, end, taps, l.K, l.R, packed,
                 [&](int64_t t, int64_t first, int64_t there, Vector a) {
                   store_first(row(l.a, b, t) + first, a, there);
                 });
  } else if (op == Operator::gated_conv) {
    gated_conv_tile(l, packed, b, begin, end, taps, row(l.z, b, begin), l.z.time_stride, false);
  } else {
    gated_conv_tile(l, packed, b, begin, end, taps, z, z_stride(l), true);
    out_tile(l, packed + conv_panels(l, op).floats(), b, begin, end, taps, z);
  }
}
