// A launch on tiles of rows (tile.cuh) as a value: the plan (plan.h) makes it, the kernels read it. Where everything
// lies in shared memory follows from it (layout.h).
#pragma once

#include <cstddef>

#include "cuda/both.h"
#include "cuda/packing.h"
#include "cuda/tiling.h"

namespace wavenet::cuda {

constexpr int kThreads = 256;   // of a block, but for tall tiles
constexpr int kStepBytes = 32;  // of a contraction, for one mma
constexpr int kMostLayers = 8;  // that one launch computes

// Rows of a tile and outputs of a slab: what kernels are compiled for, each for every dtype.
struct TileSize {
  int M = 128, N = 128;
};
constexpr TileSize kTileSizes[] = {{192, 128}, {128, 32}, {128, 64}, {128, 128}, {64, 128}, {32, 128}};
constexpr int kMostRows = 192, kWidestSlab = 128;
// Tiles of more rows are tall: a block has a warp for every 16 of them.
constexpr int kTall = 128;
WAVENET_BOTH constexpr int threads_of(TileSize size) { return size.M > kTall ? 2 * size.M : kThreads; }
// Of the backward in one launch, by the blocks of weights that a warp sums. Of narrow slabs two blocks of a launch have
// registers enough.
WAVENET_BOTH constexpr TileSize fused_tile_size(int tiles) { return {128, tiles == 1 ? 32 : 64}; }
constexpr TileSize kStreamTileSize{32, 128};

// Slabs of the rings that kernels are compiled for; 0: kStages to kDeepStages, as many as there is room for. Of narrow
// slabs registers are short; a tall tile's threads would wait for the answer at every slab.
WAVENET_BOTH constexpr int stages_of(TileSize size) {
  return size.M > kTall ? kTallStages : size.N == kWidestSlab ? 0 : kStages;
}

// Of a ring of slabs of N outputs.
WAVENET_BOTH constexpr int ring_bytes(int N, int stages = kStages) { return stages * N * kSlabBytes; }

struct TileLaunch {
  // What is computed.
  DType dtype = DType::float32;
  int R = 0, D = 0, S = 0, K = 0;

  // In what tiles.
  TileSize size;
  Tiling tiling;
  // Rows of the input tile: above row 0, below row M-1; and how many of those the first layer needs loaded.
  int pad_above = 0, pad_below = 0, load_above = 0, load_below = 0;
  // Tap k of layer l reads tap_first[l] + k tap_step[l] rows further on.
  int tap_first[kMostLayers] = {}, tap_step[kMostLayers] = {};

  // How they come to the chip.
  bool ring = false;  // weights go round a ring of `stages` slabs; else they stay
  int stages = kStages;
  int buffers = 1;    // of a tile's inputs: 2, so that the next tile's are loaded during this one
  int weight_bytes = 0;
  const char* weights = nullptr;  // packed

  // How the kernel starts.
  int blocks = 1;  // of the grid
  size_t shared_bytes = 0;

  // Rows of the input tile, of M; what the weights take of shared memory, in slabs of N. Kernels know both numbers
  // when they are compiled.
  WAVENET_BOTH int rows(int M) const { return pad_above + M + pad_below; }
  WAVENET_BOTH int weight_room(int N) const { return ring ? ring_bytes(N, stages) : weight_bytes; }
};

}  // namespace wavenet::cuda
