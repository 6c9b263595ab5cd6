// Weights in the order in which the micro-kernel reads them. Included by isa.cpp.
//
//   packed = [ convolution panels ][ residual panels ][ skip panels ], each followed by a mark for each panel
//   panel  = [ bias: width ][ depth x width ]            depth: terms * R (term by term), or D for the 1x1s, in cells
//
// A plain panel is two vectors wide, the last one a single vector where the columns left fit into that. The
// panel of a gated convolution is a vector of filter columns and the vector of the same gate columns, so
// that both meet in registers. Columns beyond the last are zero. The mark of a panel is 0 if all its weights are
// finite; otherwise the fast convolution must not be used (fast.h).
#pragma once

struct Panels {
  int64_t columns;  // of the whole matrix; for a gated one, of its filter half
  int64_t depth;    // in cells
  bool gated = false;

  int64_t step() const { return gated ? kLanes : kPanel; }  // columns a panel advances by
  int64_t count() const { return ceil_div(columns, step()); }
  int64_t vectors(int64_t panel) const { return gated || columns - panel * kPanel > kLanes ? 2 : 1; }
  int64_t stride() const { return kPanel * (depth + 1); }
  int64_t offset(int64_t panel) const { return panel * stride(); }
  // Comes to a panel, with which others of two vectors may be multiplied at once by so many rows.
  void come_to(int64_t panel, int64_t rows, PanelGroup& group) const {
    if (panel < group.first + group.count) return;
    int64_t n = panels_at_once(rows);
    while (n > 1 && (panel + n > count() || vectors(panel + n - 1) == 1)) n /= 2;
    group.first = panel, group.count = n, group.by_panel = stride();
  }
  int64_t marks() const {  // where they are
    const int64_t last = count() - 1;
    return last < 0 ? 0 : offset(last) + vectors(last) * kLanes * (depth + 1);
  }
  int64_t reals() const { return marks() + round_up(count(), 16); }
};

inline Panels conv_panels(const Layer& l, Operator op, bool fast) {
  return {op == Operator::conv ? l.C : l.D, terms(l.K, fast) * cells_of(l.R), op != Operator::conv};
}
inline Panels residual_panels(const Layer& l, Operator op) {
  return {op == Operator::block && l.residual.data ? l.R : 0, cells_of(l.D)};
}
inline Panels skip_panels(const Layer& l, Operator op) {
  return {op == Operator::block && l.skip.data ? l.S : 0, cells_of(l.D)};
}

inline Taps conv_taps(const Layer& l) {
  return {static_cast<const Real*>(l.conv_weight), l.K, l.R, l.R * l.K, 1, l.K};
}
// Rows [first, ...) of out_weight, as a convolution of one tap.
inline Taps out_taps(const Layer& l, int64_t first) {
  return {static_cast<const Real*>(l.out_weight) + first * l.D, 1, l.D, l.D, 0, 1};
}

#if WAVENET_PAIRS

// One weight of `n` columns, which the first is that of.
inline Vector load_columns(const Taps& w, const Real* first, int64_t n) {
  if (w.by_column == 1) return load_first(first, n);
  Real columns[kLanes] = {};
  for (int64_t j = 0; j < n; ++j) columns[j] = first[j * w.by_column];
  return load(columns);
}

// A vector of columns from `first` on, `n` of which exist, at `to` with rows `width` apart: the bias, and term by term
// the channels in pairs, each segment of them with one of its own where their number is odd.
inline void pack_vector(const Taps& w, const Real* bias, int64_t first, int64_t n, bool, int64_t width, Real* to) {
  constexpr int64_t kBlock = 16, kTaps = 8;  // channels at a time, of runs of at most so many taps
  const bool runs = w.by_channel == w.K && (w.K == 1 || w.by_tap == 1) && w.K <= kTaps;  // side by side in a column
  const int64_t split = w.split ? w.split : w.channels;
  const int64_t by_term = (cells_of(split) + cells_of(w.channels - split)) * width;
  n = smaller(n, kLanes);
  store(to, bias && n > 0 ? load_first(bias + first, n) : Vector{});
  to += width;
  for (int64_t c = 0, count; c < w.channels; c += count, to += cells_of(count) * width) {
    count = smaller(kBlock, (c < split ? split : w.channels) - c);
    const Real* from = w.data + first * w.by_column + c * w.by_channel;
    Vector run[kBlock * kTaps];
    for (int64_t at = 0; runs && at < count * w.K; at += kLanes) {
      for (int64_t j = 0; j < kLanes; ++j) {
        run[at + j] = j < n ? load_first(from + j * w.by_column + at, count * w.K - at) : Vector{};
      }
      transpose(run + at);
    }
    for (int64_t k = 0; k < w.K; ++k) {
      const auto columns = [&](int64_t i) {
        if (i == count) return Vector{};
        return runs ? run[i * w.K + k] : load_columns(w, from + i * w.by_channel + k * w.by_tap, n);
      };
      for (int64_t i = 0; i < count; i += 2) store(to + k * by_term + i / 2 * width, in_cells(columns(i), columns(i + 1)));
    }
  }
}

#else

// `count` elements of all terms, along a column or along a channel: `in_step` apart in the weights, `out_step` in `to`,
// where terms are `by_term` apart.
WAVENET_ONCE void pack_run(const Taps& w, const Real* from, int64_t in_step, int64_t count, bool fast, int64_t out_step,
                     int64_t by_term, Real* to) {
  const int64_t tap = w.by_tap;
  for (int64_t i = 0; i < count; ++i, from += in_step, to += out_step) {
    if (!fast) {
      for (int64_t k = 0; k < w.K; ++k) to[k * by_term] = from[k * tap];
    } else if (w.K == 2) {
      to[0] = from[0], to[by_term] = from[0] + from[tap], to[2 * by_term] = from[tap];
    } else {
      const Real outer = Real(0.5) * (from[0] + from[2 * tap]), middle = Real(0.5) * from[tap];
      to[0] = from[0], to[by_term] = outer + middle, to[2 * by_term] = outer - middle, to[3 * by_term] = from[2 * tap];
    }
  }
}

// A vector of columns from `first` on, `n` of which exist, at `to` with rows `width` apart. It is read along what lies
// closer together; columns in blocks of channels, so that what is written stays in L1 until it is full.
WAVENET_ONCE void pack_vector(const Taps& w, const Real* bias, int64_t first, int64_t n, bool fast, int64_t width,
                              Real* to) {
  constexpr int64_t kBlock = 32;
  const int64_t by_term = w.channels * width, depth = terms(w.K, fast) * w.channels;
  const Real* from = w.data + first * w.by_column;
  for (int64_t j = 0; j < kLanes; ++j) to[j] = j < n && bias ? bias[first + j] : 0;
  to += width;
  for (int64_t i = 0; n < kLanes && i < depth; ++i) store(to + i * width, Vector{});
  n = smaller(n, kLanes);
  if (w.by_column < w.by_channel) {
    for (int64_t c = 0; c < w.channels; ++c) {
      pack_run(w, from + c * w.by_channel, w.by_column, n, fast, 1, by_term, to + c * width);
    }
    return;
  }
  for (int64_t c = 0; c < w.channels; c += kBlock) {
    for (int64_t j = 0; j < n; ++j) {
      const Real* column = from + j * w.by_column + c * w.by_channel;
      pack_run(w, column, w.by_channel, smaller(kBlock, w.channels - c), fast, width, by_term, to + c * width + j);
    }
  }
}

#endif

// Returns whether everything is finite.
WAVENET_ONCE bool pack_panel(const Panels& p, int64_t panel, const Taps& w, const Real* bias, bool fast, Real* to) {
  const int64_t column = panel * p.step(), width = p.vectors(panel) * kLanes;
  pack_vector(w, bias, column, p.columns - column, fast, width, to);
  if (p.gated) {
    pack_vector(w, bias, p.columns + column, p.columns - column, fast, width, to + kLanes);
  } else if (width > kLanes) {
    pack_vector(w, bias, column + kLanes, p.columns - column - kLanes, fast, width, to + kLanes);
  }
  Vector nothing = {};
  for (int64_t i = 0; i < (p.depth + 1) * width; i += kLanes) nothing += load(to + i) * Real(0);
  return all_zero(nothing);
}

// One of the panels that `packed` begins with, and its mark.
inline void pack_at(const Panels& p, int64_t panel, const Taps& w, const Real* bias, bool fast, Real* packed) {
  packed[p.marks() + panel] = pack_panel(p, panel, w, bias, fast, packed + p.offset(panel)) ? 0 : 1;
}

// Of a convolution that may be a fast one.
bool has_zero_weight(const Layer& l) {
  if (!paired(l)) return false;
  const auto weights = static_cast<const Real*>(l.conv_weight);
  const int64_t count = l.C * l.R * l.K, whole = count / (4 * kLanes) * (4 * kLanes);
  decltype(Vector{} == Vector{}) zero[4] = {};
  for (int64_t i = 0; i < whole; i += 4 * kLanes) {
    WAVENET_UNROLL
    for (int j = 0; j < 4; ++j) zero[j] |= load(weights + i + j * kLanes) == Real(0);
  }
  zero[0] |= zero[1] | zero[2] | zero[3];
  bool any = false;
  for (int i = 0; i < kLanes; ++i) any |= zero[0][i] != 0;
  for (int64_t i = whole; i < count; ++i) any |= weights[i] == 0;
  return any;
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

  // Comes to a panel and returns the first of its group.
  const Real* come_to(int64_t panel, const Inputs& in, PanelGroup& group) const {
    const bool as_packed = packed_panels.depth == terms(taps.K, in.fast) * cells_of(taps.channels);
    packed_panels.come_to(panel, as_packed ? in.height : kBlockRows, group);
    if (as_packed) return packed + packed_panels.offset(group.first);
    const Panels plain{packed_panels.columns, taps.K * cells_of(taps.channels), packed_panels.gated};
    pack_panel(plain, panel, taps, bias, in.fast, room);
    return room;
  }
};
