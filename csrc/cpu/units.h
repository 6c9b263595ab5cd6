// How the rows of a clip are taken two at a time.
//
// Two outputs a dilation apart share all but one of their inputs each, and fast.h makes use of that. A unit is such
// a pair of rows, (t, t + d); where pairs are of no use it is a single row. Units are counted along a clip:
//
//   unit      0    1   ..  d-1      d     d+1  ..
//   rows    0, d  1, d+1     ..   2d, 3d   ..            the last ones may lack their second row
//
// The functions are static: this file is compiled once for each instruction set, and the linker must not take
// the copy of one for another.
#pragma once

#include "layer.h"

namespace wavenet::cpu {

// Pairs save multiplications for two and three taps. In double precision, meant for checks, nothing is saved.
[[maybe_unused]] static inline bool paired(const Layer& l) {
  return l.fast && l.dtype != DType::float64 && (l.K == 2 || l.K == 3);
}

[[maybe_unused]] static inline int64_t rows_per_unit(const Layer& l) { return paired(l) ? 2 : 1; }

// Units of a clip of T rows.
[[maybe_unused]] static inline int64_t unit_count(const Layer& l) {
  if (!paired(l)) return l.T;
  const int64_t rest = l.T % (2 * l.dilation);
  return l.T / (2 * l.dilation) * l.dilation + (rest < l.dilation ? rest : l.dilation);
}

// The unit that row t belongs to.
[[maybe_unused]] static inline int64_t unit_of(const Layer& l, int64_t t) {
  if (!paired(l)) return t;
  return t / (2 * l.dilation) * l.dilation + t % l.dilation;
}

// Writes the rows of units [begin, end): first the first rows of all, then the second ones, -1 for those that
// don't exist. Returns their number, which is that of the units if no second row exists.
[[maybe_unused]] static inline int64_t place_rows(const Layer& l, int64_t begin, int64_t end, int64_t* times) {
  const int64_t units = end - begin;
  if (!paired(l)) {
    for (int64_t i = 0; i < units; ++i) times[i] = begin + i;
    return units;
  }
  const int64_t d = l.dilation;
  int64_t first = begin / d * 2 * d + begin % d, phase = begin % d;
  bool second_rows = false;
  for (int64_t i = 0; i < units; ++i) {
    times[i] = first;
    times[units + i] = first + d < l.T ? first + d : -1;
    second_rows |= first + d < l.T;
    ++first;
    if (++phase == d) phase = 0, first += d;
  }
  return second_rows ? 2 * units : units;
}

}  // namespace wavenet::cpu
