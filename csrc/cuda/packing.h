// Weights in the order in which a kernel uses them: a stream of slabs (product.cuh), made anew for every call.
//
// A product of `outputs` columns over `bytes` of contraction takes chunks of up to N outputs, and of each chunk slabs
// of 128 bytes of the contraction. In a slab, row n (an output) lies at 128 n, its 16-byte units permuted by n % 8,
// so that eight rows are read from eight different banks. Streams:
//
//   layers         of a group of layers that one launch computes: of each layer the convolution, 2D outputs over
//                  (tap, channel of x), then the residual 1x1 over the channels of z; then the skip 1x1 of all, over
//                  (layer, channel)
//   gate gradient  of one layer, of each N outputs of the convolution: they, then their gates' columns of V, over the
//                  channels of the gradients of residual and skip: slabs of N / 2, in a ring two in the room of one
//   data gradient  of one layer: R outputs over (tap, channel of a), or over (block of channels, tap, channel of it), a
//                  slab's 128 bytes of channels each
//
// Row n of a slab is not output n: of 16 columns a thread has 2 q and 2 q + 1 in the first eight and in the second, and
// should have four neighbours, to move at once. So those rows are outputs 4 q to 4 q + 3. Of a convolution 8 rows of
// filters and the 8 of their gates take turns.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

#include "cuda/both.h"
#include "layer.h"

namespace wavenet::cuda {

enum class PackedFor : int32_t { layers, gate_gradient, data_gradient };

inline int element_bytes(DType dtype) { return dtype == DType::float32 ? 4 : 2; }

constexpr int kSlabBytes = 128;  // of a slab's row
constexpr int kStages = 3;       // of a ring of slabs: one in use, two on their way
// Of one of wide slabs, or one less, where there is room: also while a tile is on its way. Tall tiles have no choice.
constexpr int kDeepStages = 5, kTallStages = 4;

// Consecutive layers whose weights are one stream.
struct PackedGroup {
  int first = 0, count = 1;
  int N = 0;             // outputs of a slab
  bool ring = false;     // every slab takes the room of N rows; else slabs lie close
  bool residual = true;  // layers: the last one's residual is computed; gate gradient: the residual has a gradient
  int64_t offset = 0, bytes = 0;
  bool blocks = false;  // data gradient: block of channels after block
};

struct Packing {
  PackedFor use = PackedFor::layers;
  DType dtype = DType::float32;
  int R = 0, D = 0, S = 0, K = 0;     // S: 0 where no skip is wanted
  float residual_scale = 1;           // of gradients
  const void* conv_weight = nullptr;  // (L, 2D, R, K)
  const void* out_weight = nullptr;   // (L, out_channels, D), the residual's R first
  int out_channels = 0;

  int element() const { return element_bytes(dtype); }
  // Of the stream of a group.
  int64_t bytes(const PackedGroup& group) const;
};

// Of one product, bytes.
WAVENET_BOTH inline int64_t product_bytes(int outputs, int64_t contraction_bytes, int N, bool ring) {
  const int64_t slabs = (contraction_bytes + kSlabBytes - 1) / kSlabBytes;
  return (ring ? (outputs + N - 1) / N * N : outputs) * slabs * kSlabBytes;
}

// Of the columns of V in a gate gradient's stream, of `gates` gates at a time, those of one time.
struct PackedColumns {
  int rows, depth_bytes;  // of a slab; of the contraction, with what is added to it
  WAVENET_BOTH PackedColumns(int gates, int depth_bytes, const PackedGroup& group)
      : rows(group.ring ? group.N / 2 : gates),
        depth_bytes(group.ring ? (depth_bytes + 2 * kSlabBytes - 1) / (2 * kSlabBytes) * (2 * kSlabBytes)
                               : depth_bytes) {}
  WAVENET_BOTH int64_t bytes() const { return product_bytes(rows, depth_bytes, rows, true); }
};

template <class T>
void load_pack();

// Packs the stream of each group to `to` + its offset.
void pack(const Packing& packing, const std::vector<PackedGroup>& groups, char* to, cudaStream_t stream);

}  // namespace wavenet::cuda
