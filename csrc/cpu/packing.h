// Weights in the order in which the micro-kernel reads them. Included by isa.cpp.
//
//   packed = [ convolution panels ][ residual panels ][ skip panels ]
//   panel  = [ bias: width ][ depth x width ]            depth: K*R (tap by tap), or D for the 1x1s
//
// A plain panel is two vectors wide, the last one a single vector where the columns left fit into that. The
// panel of a gated convolution is a vector of filter columns and the vector of the same gate columns, so
// that both meet in registers. Columns beyond the last are zero.
#pragma once

struct Panels {
  int64_t columns;  // of the whole matrix; for a gated one, of its filter half
  int64_t depth;
  bool gated;

  int64_t step() const { return gated ? kLanes : kPanel; }  // columns a panel advances by
  int64_t count() const { return ceil_div(columns, step()); }
  int64_t vectors(int64_t panel) const { return gated || columns - panel * kPanel > kLanes ? 2 : 1; }
  int64_t offset(int64_t panel) const { return panel * kPanel * (depth + 1); }
  int64_t floats() const {
    const int64_t last = count() - 1;
    return last < 0 ? 0 : offset(last) + vectors(last) * kLanes * (depth + 1);
  }
};

inline Panels conv_panels(const Layer& l, Operator op) {
  return op == Operator::conv ? Panels{l.C, l.K * l.R, false} : Panels{l.D, l.K * l.R, true};
}
inline Panels residual_panels(const Layer& l, Operator op) {
  return Panels{op == Operator::block && l.residual.data ? l.R : 0, l.D, false};
}
inline Panels skip_panels(const Layer& l, Operator op) {
  return Panels{op == Operator::block && l.skip.data ? l.S : 0, l.D, false};
}

int64_t packed_floats(const Layer& l, Operator op) {
  return conv_panels(l, op).floats() + residual_panels(l, op).floats() + skip_panels(l, op).floats();
}

int64_t pack_units(const Layer& l, Operator op) {
  return conv_panels(l, op).count() + residual_panels(l, op).count() + skip_panels(l, op).count();
}

// One vector of columns: matrix column `first + j` in lane j, at `to` with rows `width` apart. Element
// (column, k, r) of the matrix is weight[(column * R + r) * K + k].
inline void pack_vector(const float* weight, const float* bias, int64_t first, int64_t columns, int64_t K,
                        int64_t R, int64_t width, float* to) {
  for (int64_t j = 0; j < kLanes; ++j) {
    const bool there = j < columns;
    const float* w = weight + (first + j) * R * K;
    float* out = to + j;
    *out = there && bias ? bias[first + j] : 0.0f;
    for (int64_t k = 0; k < K; ++k) {
      for (int64_t r = 0; r < R; ++r) *(out += width) = there ? w[r * K + k] : 0.0f;
    }
  }
}

inline void pack_panel(const Panels& p, int64_t panel, const float* weight, const float* bias,
                       int64_t first, int64_t K, int64_t R, float* packed) {
  float* to = packed + p.offset(panel);
  const int64_t column = panel * p.step(), width = p.vectors(panel) * kLanes;
  pack_vector(weight, bias, first + column, p.columns - column, K, R, width, to);
  if (p.gated) {
    pack_vector(weight, bias, first + p.columns + column, p.columns - column, K, R, width, to + kLanes);
  } else if (width > kLanes) {
    pack_vector(weight, bias, first + column + kLanes, p.columns - column - kLanes, K, R, width,
                to + kLanes);
  }
}

void pack(const Layer& l, Operator op, int64_t unit, float* packed) {
  const auto weight = static_cast<const float*>(l.conv_weight), bias = static_cast<const float*>(l.conv_bias);
  const auto out_weight = static_cast<const float*>(l.out_weight);
  const auto out_bias = static_cast<const float*>(l.out_bias);
  const Panels conv = conv_panels(l, op), residual = residual_panels(l, op), skip = skip_panels(l, op);
  if (unit < conv.count()) return pack_panel(conv, unit, weight, bias, 0, l.K, l.R, packed);
  unit -= conv.count(), packed += conv.floats();
  if (unit < residual.count()) return pack_panel(residual, unit, out_weight, out_bias, 0, 1, l.D, packed);
  unit -= residual.count(), packed += residual.floats();
  pack_panel(skip, unit, out_weight, out_bias, l.R, 1, l.D, packed);
}
