// How a stack is computed on a device: which layers one launch takes, in what tiles, and what memory that needs. A
// plan holds for all calls of the same sizes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cuda/device.h"
#include "cuda/layers.h"
#include "cuda/layout.h"
#include "cuda/packing.h"
#include "layer.h"

namespace wavenet::cuda {

// What a plan is to keep to; by default nothing is asked of it. Calibration times such plans beside the planner's own.
struct Limits {
  int layers = kMostLayers;  // of a launch
  int rows = kMostRows;      // of a tile
  int slab = kWidestSlab;    // outputs of a slab: fewer need fewer registers
  bool ring = false;         // weights go round a ring where they could stay, too, which leaves room for more blocks
};

struct StackShape {
  DType dtype = DType::float32;
  int64_t B = 0, T = 0;
  int R = 0, D = 0, S = 0, K = 0;
  std::vector<int64_t> dilations;
  bool same = false;
  Limits limits;

  int layers() const { return static_cast<int>(dilations.size()); }
  int element() const { return element_bytes(dtype); }
  int64_t left(int layer) const { return (K - 1) * dilations[layer] / (same ? 2 : 1); }
};

// One launch: a kernel on consecutive layers. `tiled` says what it computes, in what tiles, how they come to the chip
// and how it starts.
struct LaunchPlan {
  const char* kernel = "";
  int first = 0, count = 1;  // layers
  TileLaunch tiled;
  Regions regions;  // of shared memory
};
// The launch in a line.
std::string describe(const LaunchPlan& plan);

// The launches of a forward pass. residual: the last layer's is computed; keep: the output of every layer is written
// to memory. Throws std::invalid_argument where a tile does not fit into the device's shared memory, as the others do.
std::vector<LaunchPlan> plan_layers(const StackShape& shape, bool residual, bool keep, const Device& device);

LaunchPlan plan_gate_gradient(const StackShape& shape, int layer, bool residual, bool skip, const Device& device);
LaunchPlan plan_data_gradient(const StackShape& shape, int layer, const Device& device);

// Those of weights, of a wide layer in 16 bits; none elsewhere.
std::optional<LaunchPlan> plan_wide_weight_gradient(const StackShape& shape, int layer, const Device& device);

// All three in one launch; none where that can't be, or would not pay.
std::optional<LaunchPlan> plan_fused_backward(const StackShape& shape, int layer, bool residual, bool skip,
                                              const Device& device);
// Of its sums of weights, blocks of 32 x 32 a warp: 1, 2 or 4 where there is such a plan.
int fused_tiles(const StackShape& shape, int outputs);

// The packed weights of a launch, all but the weights' addresses. S: skip channels that matter, 0 or the shape's.
Packing packing_of(const StackShape& shape, PackedFor use, int S);

// std::invalid_argument: it does not fit into shared memory.
[[noreturn]] void refuse(const char* what, const Device& device);

}  // namespace wavenet::cuda
