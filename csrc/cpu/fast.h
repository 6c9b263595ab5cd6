// Convolutions of two and three taps with fewer multiplications: for two outputs a dilation apart, three products
// instead of four (K = 2, the fast FIR algorithm of Mou and Duhamel 1987) and four instead of six (K = 3, F(2,3) of
// Winograd 1980, Lavin and Gray 2016, arXiv 1509.09308). Included by isa.cpp.
//
// With inputs d_i = x[t - left + i d], outputs y0 = sum_k W_k d_k and y1 = sum_k W_k d_(k+1):
//
//   K = 2    m0 = W0 (d0 - d1)                      K = 3    m0 = W0 (d0 - d2)
//            m1 = (W0 + W1) d1                               m1 = (W0 + W1 + W2)/2 (d1 + d2)
//            m2 = W1 (d2 - d1)                               m2 = (W0 - W1 + W2)/2 (d2 - d1)
//                                                            m3 = W2 (d3 - d1)
//            y0 = m0 + m1                                    y0 = m0 + m1 + m2
//            y1 = m1 + m2                                    y1 = m1 - m2 + m3
//
// An output depends on its own inputs alone, as it should. But an infinite input or weight turns to NaN in a
// difference, where the plain sum may be infinite: then the tile is done the plain way, each row a sum of K products.
#pragma once

// The factors of one product for each input or weight: what gather and pack make.
inline int64_t terms(int64_t K, bool fast) { return fast ? K + 1 : K; }

// Weight k of the convolution: element (column, k, channel) at data[column by_column + k by_tap + channel by_channel].
struct Taps {
  const Real* data;
  int64_t K, channels, by_column, by_tap, by_channel;
  int64_t split = 0;  // where the channels of a second segment begin (0: there is but one)
};

// The tile's inputs, one Matrix for each term: a row for each unit when fast, else one for each row.
struct Inputs {
  Real* data;
  Segment* segments;  // room for K
  int64_t height, channels, by_term;
  bool fast;

  Matrix term(int64_t j) const { return {data + j * by_term, height, channels}; }
  static int64_t reals(const Layer& l, int64_t units, int64_t channels) {
    return l.K * Matrix::reals(units * rows_per_unit(l), channels);
  }
};

// Where the rows of inputs come from. A row that doesn't exist is zeros (and is multiplied as such, so that an
// infinite weight gives the NaN that explicit padding gives).
struct Source {
  Rows rows;
  DType dtype;
  int64_t b, begin, end, channels;  // rows begin <= t < end exist
  const Ring* ring;                 // if not null, the rows are there
  const Layer* layer;               // whose units the ring is made of
  const Stored* zeros;
  Real* buffers;  // room for K + 1 rows that must be converted

  const Stored* row(int64_t t, int64_t which) const {
    if (t < begin || t >= end) return zeros;
    if (ring) return static_cast<const Stored*>(ring->data) + ring_offset(*ring, *layer, b, t);
    if (kPerCell > 1 || dtype == kNative) return static_cast<const Stored*>(rows.data) + offset(rows, b, t);
    Real* to = buffers + which * round_up(channels, kLanes);
    for (int64_t c = 0; c < channels; c += kLanes) store(to + c, load_row(rows, dtype, b, t, c, channels - c));
    return reinterpret_cast<const Stored*>(to);
  }

  // Asks for a row that will be gathered soon: several of them side by side are more than the processor foresees.
  __attribute__((always_inline)) void prefetch(int64_t t) const {
    if (t < begin || t >= end || ring) return;
    const int64_t size = storage_bytes(dtype);
    const char* from = static_cast<const char*>(rows.data) + offset(rows, b, t) * size;
    for (int64_t at = 0; at < channels * size; at += 64) __builtin_prefetch(from + at, 0, 3);
  }

  static int64_t reals(int64_t K, int64_t channels) { return (K + 1) * round_up(channels, kLanes); }
};

constexpr int64_t kAhead = 8;  // rows that are asked for before they are read

__attribute__((always_inline)) inline void prefetch_line(const Stored* row, int64_t channels) {
  for (int64_t c = 0; c < channels; c += 64 / static_cast<int64_t>(sizeof(Stored))) __builtin_prefetch(row + c, 0, 3);
}

// Where the ring holds the rows some dilations after the first rows of a tile's units, which follow one another.
struct RingRows {
  const Stored* data;
  int64_t first, units, stride;  // the tile's first unit, those that the ring holds, from unit to unit

  RingRows() = default;
  RingRows(const Source& from, int64_t t, int64_t dilations)
      : units(from.ring->units), stride(from.ring->channels * 2) {
    const int64_t second = dilations & 1, later = (dilations - second) / 2 * from.layer->dilation;
    const int64_t unit = from.b * unit_count(*from.layer) + unit_of(*from.layer, t) + later;
    first = (unit % units + units) % units;
    data = static_cast<const Stored*>(from.ring->data) + second * from.ring->channels;
  }
  const Stored* of(int64_t i) const {
    const int64_t unit = first + i;
    return data + (unit < units ? unit : unit - units) * stride;
  }
};

inline void gather_plain(const Source& from, int64_t K, int64_t left, int64_t dilation, const int64_t* times,
                         int64_t rows, Inputs& in) {
  for (int64_t k = 0; k < K; ++k) {
    const Matrix to = in.term(k);
    const int64_t later = k * dilation - left;
    for (int64_t i = 0; i < rows; ++i) {
      if (i + kAhead < rows && times[i + kAhead] >= 0) from.prefetch(times[i + kAhead] + later);
      const Stored* d = times[i] < 0 ? from.zeros : from.row(times[i] + later, 0);
      for (int64_t c = 0; c < from.channels; c += kChannelsAtOnce) {
        store(to.at(i, c), load_cells(d + c, from.channels - c));
      }
    }
  }
}

// The same of rows one after another, a tap not too far from the next: a row is there once for all taps.
inline void gather_once(const Source& from, int64_t K, int64_t left, int64_t dilation, int64_t begin, int64_t rows,
                        Inputs& in) {
  in.height = rows + (K - 1) * dilation, in.by_term = dilation * kDepth;
  const Matrix to = in.term(0);
  for (int64_t i = 0, t = begin - left; i < in.height; ++i, ++t) {
    if (i + kAhead < in.height) from.prefetch(t + kAhead);
    const Stored* x = from.row(t, 0);
    for (int64_t c = 0; c < from.channels; c += kChannelsAtOnce) {
      store(to.at(i, c), load_cells(x + c, from.channels - c));
    }
  }
}

// Returns false if something is infinite or NaN.
template <int K>
inline bool gather_fast(const Source& from, int64_t left, int64_t dilation, const int64_t* times, int64_t units,
                        Inputs& in) {
  Real* terms[K + 1];
  RingRows ring[K + 1];
  for (int k = 0; k <= K; ++k) {
    terms[k] = in.term(k).data;
    if (from.ring) ring[k] = RingRows(from, times[0], k - left / dilation);
  }
  const int64_t panel_stride = in.term(0).panel_stride();
  Vector nothing[K + 1] = {};  // stay zero as long as everything is finite
  for (int64_t i = 0; i < units; ++i) {
    const Stored* d[K + 1];
    for (int k = 0; k <= K; ++k) {
      const int64_t later = k * dilation - left;
      if (from.ring) {
        const int64_t t = times[i] + later;
        d[k] = from.begin <= t && t < from.end ? ring[k].of(i) : from.zeros;
        if (i + kAhead < units) prefetch_line(ring[k].of(i + kAhead), from.channels);
        continue;
      }
      if (i + kAhead < units) from.prefetch(times[i + kAhead] + later);
      d[k] = from.row(times[i] + later, k);
    }
    for (int64_t c = 0, at = i * kDepth; c < from.channels; c += kLanes) {
      const int64_t n = from.channels - c;
      Vector x[K + 1];
      for (int k = 0; k <= K; ++k) x[k] = load_cells(d[k] + c, n);
      const Vector d1 = x[1], d2 = x[2];
      x[0] -= K == 2 ? d1 : d2;
      if (K == 3) x[1] += d2;
      x[2] -= d1;
      if (K == 3) x[K] -= d1;
      for (int j = 0; j <= K; ++j) {
        store(terms[j] + at, x[j]);
        nothing[j] += x[j] * Real(0);
      }
      at += kLanes;
      if ((c + kLanes) % kDepth == 0) at += panel_stride - kDepth;
    }
  }
  Vector all = {};
  for (const Vector& of_term : nothing) all += of_term;
  return all_zero(all);
}

// Whether the rows that a convolution reads are those of a Matrix already: the narrow rows of a stream.
inline bool as_it_lies(const Layer& l) {
  return kPerCell == 1 && l.dtype == kNative && !paired(l) && l.R <= kDepth && l.x.channel_stride == 1 &&
         l.x.time_stride == kDepth && l.past >= l.left && l.left == (l.K - 1) * l.dilation;
}

// Rows [begin, ...) of x and those before them, each term a dilation later.
inline void take_as_it_lies(const Layer& l, int64_t b, int64_t begin, int64_t rows, Inputs& in) {
  in.data = static_cast<Real*>(l.x.data) + offset(l.x, b, begin - l.left);
  in.fast = false, in.height = rows, in.channels = l.R, in.by_term = l.dilation * kDepth;
}

// Fills `in`, whose memory has room for either way.
inline void gather(const Layer& l, const Source& from, const int64_t* times, int64_t units, int64_t rows, bool fast,
                   Inputs& in) {
  in.channels = from.channels;
  in.fast = fast, in.height = units, in.by_term = Matrix::reals(units, in.channels);
  if (kPerCell == 1 && fast) {
    const auto gather = l.K == 2 ? gather_fast<2> : gather_fast<3>;
    if (gather(from, l.left, l.dilation, times, units, in)) return;
  }
  in.fast = false, in.height = rows, in.by_term = Matrix::reals(rows, in.channels);
  // As many rows more as all taps but one would take, at most: there is room for them.
  if (!paired(l) && (l.K - 1) * l.dilation <= rows) {
    return gather_once(from, l.K, l.left, l.dilation, times[0], rows, in);
  }
  gather_plain(from, l.K, l.left, l.dilation, times, rows, in);
}

// All rows of a tile against one panel: `finish(row, vectors)` gets each row's columns. A panel is bias, then terms.
// `first`: that of the panel's group; the others' sums are made with it.
template <int VECTORS, class Finish>
inline void convolve(const Inputs& in, int64_t K, int64_t units, int64_t rows, const Real* first, int64_t panel,
                     PanelGroup& group, Finish&& finish) {
  constexpr int64_t kWidth = VECTORS * kLanes;
  const int64_t panels = group.count, by_panel = group.by_panel;
  const bool begins = panel == group.first;
  const Start biases(first, by_panel);
  if (kPerCell > 1 || !in.fast) {
    for (int64_t i = 0, n; i < rows; i += n) {
      n = block_size(rows - i);
      Vector* y = group.y0 + group.at(i, panel, n, VECTORS);
      if (begins) {
        for (int64_t k = 0; k < K; ++k) in.segments[k] = Segment(in.term(k), i);
        accumulate_block<VECTORS>(n, panels, {in.segments, K, first + kWidth, by_panel, biases}, y);
      }
      for (int64_t m = 0; m < n; ++m) finish(i + m, y + m * VECTORS);
    }
    return;
  }
  const Real zeros[kWidth] = {};
  for (int64_t i = 0, n; i < units; i += n) {
    n = block_size(units - i);
    const auto product = [&](int64_t j, const Start& start, Vector* to) {
      const Segment segment(in.term(j), i);
      const Real* weights = first + kWidth * (1 + j * segment.cells);
      accumulate_block<VECTORS>(n, panels, {&segment, 1, weights, by_panel, start}, to);
    };
    const int64_t at = group.at(i, panel, n, VECTORS);
    Vector *const y0 = group.y0 + at, *const y1 = group.y1 + at;
    const Start sums0(y0, n, VECTORS), sums1(y1, n, VECTORS);
    if (begins) {
      product(1, biases, y1);
      if (K == 2) {
        product(0, sums1, y0);
      } else {
        product(2, Start(zeros, 0), y0);
        for (int64_t m = 0; m < n * panels * VECTORS; ++m) {
          const Vector sum = y1[m] + y0[m];
          y1[m] -= y0[m];
          y0[m] = sum;
        }
        product(0, sums0, y0);
      }
    }
    for (int64_t m = 0; m < n; ++m) finish(i + m, y0 + m * VECTORS);
    if (rows == units) continue;
    if (begins) product(K, sums1, y1);
    for (int64_t m = 0; m < n; ++m) finish(units + i + m, y1 + m * VECTORS);
  }
}
