// Where each tap of each block of rows reads its input: in place wherever all of its rows exist. Included
// by isa.cpp.
//
// Rows before 0 and from T on count as zeros (and are multiplied as such, so that an infinite weight gives the
// NaN that explicit padding gives). A block that lies wholly outside reads one row of zeros over and over; the
// one block a tap that straddles an edge reads a small copy.
#pragma once

struct Blocks {
  Tap* taps;             // K for each block
  const float* zeros;    // max(R, 1) of them
  float* copies;         // room for straddling blocks
};

// A tile of consecutive rows meets each edge in at most one block a tap.
inline int64_t edge_floats(const Layer& l) { return l.R + 2 * l.K * kRows * l.R; }
inline int64_t max_blocks(int64_t rows) { return ceil_div(rows, kRows) + 3; }

inline Tap tap_of_block(const Layer& l, int64_t b, int64_t first, int64_t rows, Blocks& blocks) {
  if (first >= 0 && first + rows <= l.T) return {row(l.x, b, first), l.x.time_stride};
  if (first + rows <= 0 || first >= l.T) return {blocks.zeros, 0};
  float* copy = blocks.copies;
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t t = first + i;
    const float* from = t >= 0 && t < l.T ? row(l.x, b, t) : blocks.zeros;
    for (int64_t r = 0; r < l.R; ++r) copy[i * l.R + r] = from[r];
  }
  blocks.copies += rows * l.R;
  return {copy, l.R};
}

inline void place_taps(const Layer& l, int64_t b, int64_t begin, int64_t end, Blocks blocks) {
  Tap* tap = blocks.taps;
  for (int64_t t = begin, rows; t < end; t += rows) {
    rows = block_size(end - t);
    for (int64_t k = 0; k < l.K; ++k) {
      *tap++ = tap_of_block(l, b, t - l.left + k * l.dilation, rows, blocks);
    }
  }
}
