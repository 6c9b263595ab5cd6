// Weights in the order in which the micro-kernel reads them. Included by isa.cpp.
//
//   packed = [ convolution panels ][ residual panels ][ skip panels ], each followed by a mark for each panel
//   panel  = [ bias: width ][ depth x width ]            depth: terms * R (term by term), or D for the 1x1s
//
// A plain panel is two vectors wide, the last one a single vector where the columns left fit into that. The
// panel of a gated convolution is a vector of filter columns and the vector of the same gate columns, so
// that both meet in registers. Columns beyond the last are zero. The mark of a panel is 0 if all its weights are
// finite; otherwise the fast convolution must not be used (fast.h).
#pragma once

struct Panels {
  int64_t columns;  // of the whole matrix; for a gated one, of its filter half
  int64_t depth;
  bool gated = false;

  int64_t step() const { return gated ? kLanes : kPanel; }  // columns a panel advances by
  int64_t count() const { return ceil_div(columns, step()); }
  int64_t vectors(int64_t panel) const { return gated || columns - panel * kPanel > kLanes ? 2 : 1; }
  int64_t offset(int64_t panel) const { return panel * kPanel * (depth + 1); }
  int64_t marks() const {  // where they are
    const int64_t last = count() - 1;
    return last < 0 ? 0 : offset(last) + vectors(last) * kLanes * (depth + 1);
  }
  int64_t reals() const { return marks() + round_up(count(), 16); }
  int64_t largest() const { return kPanel * (depth + 1); }
};

inline Panels conv_panels(const Layer& l, Operator op, bool fast) {
  return {op == Operator::conv ? l.C : l.D, terms(l.K, fast) * l.R, op != Operator::conv};
}
inline Panels residual_panels(const Layer& l, Operator op) {
  return {op == Operator::block && l.residual.data ? l.R : 0, l.D};
}
inline Panels skip_panels(const Layer& l, Operator op) { return {op == Operator::block && l.skip.data ? l.S : 0, l.D}; }

inline Taps conv_taps(const Layer& l) {
  return {static_cast<const Real*>(l.conv_weight), l.K, l.R, l.R * l.K, 1, l.K};
}
// Rows [first, ...) of out_weight, as a convolution of one tap.
inline Taps out_taps(const Layer& l, int64_t first) {
  return {static_cast<const Real*>(l.out_weight) + first * l.D, 1, l.D, l.D, 0, 1};
}

// A vector of columns from `first` on, `n` of which exist, at `to` with rows `width` apart. In blocks of channels,
// so that what is written stays in L1 until it is full. Returns 0, or NaN if something was infinite or NaN.
inline Real pack_vector(const Taps& w, const Real* bias, int64_t first, int64_t n, bool fast, int64_t width, Real* to) {
  constexpr int64_t kBlock = 32;
  Real mark = 0;
  for (int64_t j = 0; j < kLanes; ++j) to[j] = j < n && bias ? bias[first + j] : 0;
  to += width;
  for (int64_t begin = 0; begin < w.channels; begin += kBlock) {
    const int64_t end = smaller(begin + kBlock, w.channels);
    for (int64_t j = 0; j < kLanes; ++j) {
      const Real* column = w.data + (j < n ? first + j : 0) * w.by_column;
      for (int64_t term = 0; term < terms(w.K, fast); ++term) {
        Real* out = to + (term * w.channels + begin) * width + j;
        for (int64_t c = begin; c < end; ++c, out += width) {
          *out = j < n ? term_weight(column + c * w.by_channel, w.by_tap, w.K, term, fast) : 0;
          mark += *out * Real(0);
        }
      }
    }
  }
  return mark;
}

inline Real pack_panel(const Panels& p, int64_t panel, const Taps& w, const Real* bias, bool fast, Real* to) {
  const int64_t column = panel * p.step(), width = p.vectors(panel) * kLanes;
  Real mark = pack_vector(w, bias, column, p.columns - column, fast, width, to);
  if (p.gated) {
    mark += pack_vector(w, bias, p.columns + column, p.columns - column, fast, width, to + kLanes);
  } else if (width > kLanes) {
    mark += pack_vector(w, bias, column + kLanes, p.columns - column - kLanes, fast, width, to + kLanes);
  }
  return mark;
}

// One of the panels that `packed` begins with, and its mark.
inline void pack_at(const Panels& p, int64_t panel, const Taps& w, const Real* bias, bool fast, Real* packed) {
  packed[p.marks() + panel] = pack_panel(p, panel, w, bias, fast, packed + p.offset(panel)) == 0 ? 0 : 1;
}

int64_t packed_reals(const Layer& l, Operator op) {
  return conv_panels(l, op, paired(l)).reals() + residual_panels(l, op).reals() + skip_panels(l, op).reals();
}

int64_t pack_units(const Layer& l, Operator op) {
  return conv_panels(l, op, paired(l)).count() + residual_panels(l, op).count() + skip_panels(l, op).count();
}

void pack(const Layer& l, Operator op, int64_t unit, void* packed) {
  Real* to = static_cast<Real*>(packed);
  const auto bias = static_cast<const Real*>(l.conv_bias), out_bias = static_cast<const Real*>(l.out_bias);
  const Panels conv = conv_panels(l, op, paired(l)), residual = residual_panels(l, op), skip = skip_panels(l, op);
  if (unit < conv.count()) return pack_at(conv, unit, conv_taps(l), bias, paired(l), to);
  unit -= conv.count(), to += conv.reals();
  if (unit < residual.count()) return pack_at(residual, unit, out_taps(l, 0), out_bias, false, to);
  unit -= residual.count(), to += residual.reals();
  pack_at(skip, unit, out_taps(l, l.R), out_bias ? out_bias + l.R : nullptr, false, to);
}

// The packed panel; for a plain convolution where the packed weights are those of the fast one, packed here and now.
struct ConvWeights {
  const Real* packed;
  Panels packed_panels;
  Taps taps;
  const Real* bias;
  Real* room;  // for one panel of the plain convolution

  bool finite() const {
    Real marks = 0;
    for (int64_t i = 0; i < packed_panels.count(); ++i) marks += packed[packed_panels.marks() + i];
    return marks == 0;
  }

  const Real* panel(int64_t panel, bool fast) const {
    const bool as_packed = packed_panels.depth == terms(taps.K, fast) * taps.channels;
    if (as_packed) return packed + packed_panels.offset(panel);
    const Panels plain{packed_panels.columns, taps.K * taps.channels, packed_panels.gated};
    pack_panel(plain, panel, taps, bias, fast, room);
    return room;
  }
};
