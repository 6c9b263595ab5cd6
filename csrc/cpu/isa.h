// What one instruction set offers: the work on one tile of rows, and the packing of weights for it.
// The same source (isa.cpp) is compiled for each set; dispatch.cpp chooses.
#pragma once

#include <cstdint>

#include "cpu/gradient.h"
#include "layer.h"

namespace wavenet::cpu {

// Which operator a Layer stands for, that is where it starts and ends.
enum class Operator { conv, gate, gated_conv, block };

struct Isa {
  const char* name;
  int64_t block_rows;  // rows of the micro-kernel; tiles are best a multiple of it

  // Weights are packed unit by unit, so that threads can share the work.
  int64_t (*packed_floats)(const Layer&, Operator);
  int64_t (*pack_units)(const Layer&, Operator);
  void (*pack)(const Layer&, Operator, int64_t unit, float* packed);

  // Rows [begin, end) of clip b. `scratch` holds scratch_bytes for a tile of that many rows, 64-byte aligned.
  int64_t (*scratch_bytes)(const Layer&, Operator, int64_t rows);
  void (*tile)(const Layer&, Operator, const float* packed, int64_t b, int64_t begin, int64_t end,
               void* scratch);

  // The same for a layer's gradient: pass 1 adds to the slice, pass 2 writes grad_x (backward.h).
  int64_t (*backward_packed_floats)(const Gradient&);
  int64_t (*backward_pack_units)(const Gradient&);
  void (*backward_pack)(const Gradient&, int64_t unit, float* packed);
  int64_t (*backward_scratch_bytes)(const Gradient&, int64_t rows);
  void (*backward_tile)(const Gradient&, const float* packed, int64_t b, int64_t begin, int64_t end,
                        void* scratch, const Slice& to);
  void (*backward_x_tile)(const Gradient&, const float* packed, int64_t b, int64_t begin, int64_t end,
                          void* scratch);
  // to (columns) += the sum of the rows.
  void (*add_sum)(int64_t rows, const float* from, int64_t stride, int64_t columns, float* to);
};

const Isa& isa_portable();
const Isa& isa_avx2();
const Isa& isa_avx512();

}  // namespace wavenet::cpu
