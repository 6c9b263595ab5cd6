#include "cuda/plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

namespace wavenet::cuda {

namespace {

// Where a launch's time goes, in clocks of one multiprocessor, roughly: this decides only what is grouped. Kernels like
// these reach half of a device's multiply-adds, and half as many in TF32. Weights that go round come from L2, which
// gives that many bytes for one of memory.
constexpr double kReached = 0.5, kReachedInTF32 = kReached / 2, kLaunchClocks = 4000, kFromL2 = 1.3;
// A gate takes that long, with what surrounds it. All this is of a multiprocessor with so many warps to hide waits from
// each other; with fewer it takes longer, by the root.
constexpr double kGateClocks = 0.5, kFullWarps = 16;
// The least share of the multiprocessors' places, on average over rounds, that tall tiles must fill.
constexpr double kFilled = 0.75;

// The tile sizes that may serve so many outputs, the best first. Tall ones, which fetch weights less often and have more
// warps, are for wide slabs in 16 bits. Slabs wider than the outputs are for tiles that would otherwise be too large;
// half as wide ones, of many outputs, before that for as many rows.
std::vector<TileSize> tile_sizes(int outputs, const StackShape& shape) {
  const Limits& limits = shape.limits;
  const bool tall = outputs >= kWidestSlab && shape.dtype != DType::float32;
  std::vector<TileSize> found;
  for (const TileSize size : kTileSizes) {
    if (size.M > limits.rows || size.N > limits.slab) continue;
    const bool narrowest = outputs <= size.N || size.N == limits.slab;
    if (!narrowest || (!found.empty() && size.M == found.back().M)) continue;
    if (size.M > kTall && !tall) continue;
    found.push_back(size);
    if (size.M == kTall && size.N == kWidestSlab) found.push_back({size.M, size.N / 2});
  }
  return found;
}

// Steps of its dilation by which a layer looks back and ahead.
struct Reach {
  int left, right;
};
Reach reach_of(const StackShape& shape) {
  const int left = (shape.K - 1) / (shape.same ? 2 : 1);
  return {left, shape.K - 1 - left};
}

LaunchPlan begin(const StackShape& shape, const char* kernel, int first, int count, TileSize size) {
  LaunchPlan plan;
  plan.kernel = kernel, plan.first = first, plan.count = count;
  TileLaunch& tiled = plan.tiled;
  tiled.dtype = shape.dtype, tiled.size = size;
  if (const int stages = stages_of(size)) tiled.stages = stages;
  tiled.R = shape.R, tiled.D = shape.D, tiled.S = shape.S, tiled.K = shape.K;
  return plan;
}

// Fills in what follows from the tiling; false: the device has no room for it. Weights that stay in shared memory come
// first: a ring costs a barrier a slab, and what it waits for may include the next tile, which two buffers would
// otherwise load behind the work; what room is left then makes one of wide slabs deep, so that it doesn't. Two blocks of
// a multiprocessor hide more from each other than two buffers do.
// packed_bytes(ring): of the weights; layout_of(on): of layout.h; resident: blocks of a multiprocessor, from there too.
template <class Bytes, class Layout>
bool fit(LaunchPlan& plan, const StackShape& shape, const Device& device, int resident, Bytes packed_bytes,
         Layout layout_of) {
  TileLaunch& tiled = plan.tiled;
  for (const bool ring : {false, true}) {
    if (shape.limits.ring && !ring) continue;
    tiled.ring = ring, tiled.weight_bytes = static_cast<int>(packed_bytes(ring));
    tiled.buffers = 1;
    auto layout = layout_of(tiled);
    if (layout.end > device.shared_bytes) continue;
    const int blocks = device.resident(resident, layout.end);
    tiled.buffers = 2;
    const auto two = layout_of(tiled);
    if (two.end <= device.shared_bytes && device.resident(resident, two.end) == blocks) {
      layout = two;
    } else {
      tiled.buffers = 1;
    }
    for (int stages = kDeepStages; ring && !stages_of(tiled.size) && stages > kStages; --stages) {
      tiled.stages = stages;
      const auto deep = layout_of(tiled);
      if (deep.end <= device.shared_bytes && device.resident(resident, deep.end) == blocks) {
        layout = deep;
        break;
      }
      tiled.stages = kStages;
    }
    plan.regions = layout.regions(), tiled.shared_bytes = static_cast<size_t>(layout.end);
    tiled.blocks = static_cast<int>(
        std::min<int64_t>(tiled.tiling.tiles, int64_t(device.multiprocessors) * blocks));
    return true;
  }
  return false;
}

// Whether no multiprocessor waits long for others: tall tiles leave more of them without one in the last round.
bool fills(const TileLaunch& tiled, const Device& device) {
  const double rounds = double(tiled.tiling.tiles) / device.multiprocessors;
  return rounds >= (tiled.size.M > kTall ? kFilled * std::ceil(rounds) : 1);
}

// The first of the plans that fill the device, or else the last. Narrow layers do that even with clips that are too
// short for it. plan(size) is a launch in tiles of that size, if there is one.
template <class Plan>
std::optional<LaunchPlan> choose(int outputs, const StackShape& shape, const Device& device, Plan plan) {
  std::optional<LaunchPlan> found;
  for (const TileSize size : tile_sizes(outputs, shape)) {
    if (found && found->tiled.size.M == size.M) continue;
    std::optional<LaunchPlan> one = plan(size);
    if (!one) continue;
    found = one;
    if (fills(one->tiled, device) || outputs <= kWidestSlab / 2) break;
  }
  return found;
}

// Layers first .. first + count as one launch, if that can be.
std::optional<LaunchPlan> plan_group(const StackShape& shape, int first, int count, bool residual,
                                     const Device& device) {
  int64_t base = 0;
  for (int i = 0; i < count; ++i) base = std::gcd(base, shape.dilations[first + i]);
  const int e = shape.element();
  // In steps of the base: how far a layer looks back and ahead, and how many of a tile's rows that takes.
  int64_t above = 0, below = 0, most_left = 0, most_right = 0;
  int lefts[kMostLayers], steps[kMostLayers];
  for (int i = 0; i < count; ++i) {
    const int64_t step = shape.dilations[first + i] / base;
    const int64_t left = reach_of(shape).left * step, right = reach_of(shape).right * step;
    most_left = std::max(most_left, left), most_right = std::max(most_right, right);
    if (i > 0) above += left, below += right;
    if (most_left + most_right + above + below > kMostRows) return {};
    lefts[i] = static_cast<int>(left), steps[i] = static_cast<int>(step);
  }
  const bool last = first + count == shape.layers();
  const Packing packing = packing_of(shape, PackedFor::layers, shape.S);
  return choose(2 * shape.D, shape, device, [&](TileSize size) -> std::optional<LaunchPlan> {
    if (most_left + most_right + above + below > std::max(size.M, kTall)) return {};
    // Several wide layers in narrower slabs take longer than one by one.
    if (count > 1 && size.N < std::min({2 * shape.D, shape.limits.slab, kWidestSlab})) return {};
    LaunchPlan plan = begin(shape, "layers", first, count, size);
    TileLaunch& tiled = plan.tiled;
    const int left0 = lefts[0], right0 = (shape.K - 1) * steps[0] - left0;
    tiled.tiling = tile(shape.B, shape.T, base, size.M, static_cast<int>(above), static_cast<int>(below),
                        left0 + right0, shape.R * e);
    if (tiled.tiling.tiles == 0) return {};
    const int P = tiled.tiling.P();
    tiled.pad_above = static_cast<int>(most_left) * P, tiled.pad_below = static_cast<int>(most_right) * P;
    tiled.load_above = left0 * P, tiled.load_below = right0 * P;
    for (int i = 0; i < count; ++i) tiled.tap_first[i] = -lefts[i] * P, tiled.tap_step[i] = steps[i] * P;
    const auto bytes = [&](bool ring) { return packing.bytes({first, count, size.N, ring, !last || residual}); };
    const auto layout = [&](const TileLaunch& tiled) { return LayersLayout<int>(0, size, e, tiled, count); };
    if (!fit(plan, shape, device, resident_layers(size.N), bytes, layout)) return {};
    return plan;
  });
}

double cost(const StackShape& shape, const LaunchPlan& plan, bool keep, const Device& device) {
  const TileLaunch& tiled = plan.tiled;
  const int count = plan.count;
  const double multiplies =
      double(tiled.size.M) * count * (2.0 * shape.K * shape.R * shape.D + double(shape.D) * (shape.R + shape.S));
  const double own = tiled.tiling.own_rows;
  const double bytes = shape.element() * ((tiled.size.M + tiled.load_above + tiled.load_below) * double(shape.R) +
                                          own * (shape.R * (keep ? count : 1) + shape.S * (plan.first == 0 ? 1 : 2)));
  const double multiplies_a_clock = device.multiplies * (shape.dtype == DType::float32 ? kReachedInTF32 : kReached);
  const double warps = threads_of(tiled.size) / 32 *
                       device.resident(resident_layers(tiled.size.N), static_cast<int>(tiled.shared_bytes));
  const double gates = double(tiled.size.M) * count * shape.D;
  const double computing =
      (multiplies / multiplies_a_clock + gates * kGateClocks) * std::sqrt(kFullWarps / std::min(warps, kFullWarps));
  const double waves = double((tiled.tiling.tiles + device.multiprocessors - 1) / device.multiprocessors);
  const double fetched = tiled.ring ? tiled.weight_bytes : 0;
  const double memory = std::max(bytes, (bytes + fetched) / kFromL2) / device.bytes;
  return waves * std::max(computing, memory) + kLaunchClocks;
}

}  // namespace

void refuse(const char* what, const Device& device) {
  throw std::invalid_argument(std::string(what) + " of these sizes does not fit into the " +
                              std::to_string(device.shared_bytes / 1024) +
                              " KiB of shared memory that a block has here");
}

Packing packing_of(const StackShape& shape, PackedFor use, int S) {
  Packing packing;
  packing.use = use, packing.dtype = shape.dtype;
  packing.R = shape.R, packing.D = shape.D, packing.S = S, packing.K = shape.K;
  packing.out_channels = shape.R + shape.S;
  return packing;
}

std::vector<LaunchPlan> plan_layers(const StackShape& shape, bool residual, bool keep, const Device& device) {
  const int layers = shape.layers();
  // The cheapest way to compute the first n layers, and the launch that it ends with.
  std::vector<double> costs(layers + 1, std::numeric_limits<double>::infinity());
  std::vector<LaunchPlan> ends(layers + 1);
  costs[0] = 0;
  for (int first = 0; first < layers; ++first) {
    for (int count = 1; count <= std::min({kMostLayers, shape.limits.layers, layers - first}); ++count) {
      const std::optional<LaunchPlan> plan = plan_group(shape, first, count, residual, device);
      if (!plan) break;
      const double total = costs[first] + cost(shape, *plan, keep, device);
      if (total < costs[first + count]) costs[first + count] = total, ends[first + count] = *plan;
    }
    if (costs[first + 1] == std::numeric_limits<double>::infinity()) refuse("a tile of a layer", device);
  }
  std::vector<LaunchPlan> launches;
  for (int end = layers; end > 0; end = launches.back().first) launches.push_back(ends[end]);
  std::reverse(launches.begin(), launches.end());
  return launches;
}

LaunchPlan plan_gate_gradient(const StackShape& shape, int layer, bool residual, bool skip, const Device& device) {
  const int e = shape.element(), S = skip ? shape.S : 0;
  const auto [left, right] = reach_of(shape);
  const Packing packing = packing_of(shape, PackedFor::gate_gradient, S);
  const auto found = choose(2 * shape.D, shape, device, [&](TileSize size) -> std::optional<LaunchPlan> {
    LaunchPlan plan = begin(shape, "gate_gradient", layer, 1, size);
    TileLaunch& tiled = plan.tiled;
    tiled.S = S;
    tiled.tiling = tile(shape.B, shape.T, shape.dilations[layer], size.M, 0, 0, left + right, shape.R * e);
    const int P = tiled.tiling.P();
    tiled.pad_above = left * P, tiled.pad_below = right * P;
    tiled.tap_first[0] = -left * P, tiled.tap_step[0] = P;
    const auto bytes = [&](bool ring) { return packing.bytes({layer, 1, size.N, ring, residual}); };
    const auto layout = [&](const TileLaunch& tiled) {
      return GateGradientLayout<int>(0, size, e, tiled, (residual ? shape.R : 0) + S);
    };
    if (!fit(plan, shape, device, resident_gate_gradient(size.N), bytes, layout)) return {};
    return plan;
  });
  if (!found) refuse("a tile of a layer's gradients", device);
  return *found;
}

LaunchPlan plan_data_gradient(const StackShape& shape, int layer, const Device& device) {
  const int e = shape.element();
  const auto [left, right] = reach_of(shape);
  const Packing packing = packing_of(shape, PackedFor::data_gradient, shape.S);
  const auto found = choose(shape.R, shape, device, [&](TileSize size) -> std::optional<LaunchPlan> {
    LaunchPlan plan = begin(shape, "data_gradient", layer, 1, size);
    TileLaunch& tiled = plan.tiled;
    tiled.tiling = tile(shape.B, shape.T, shape.dilations[layer], size.M, 0, 0, left + right, 2 * shape.D * e);
    const int P = tiled.tiling.P();
    tiled.pad_above = right * P, tiled.pad_below = left * P;
    tiled.tap_first[0] = left * P, tiled.tap_step[0] = -P;
    const auto bytes = [&](bool ring) { return packing.bytes({layer, 1, size.N, ring}); };
    const auto layout = [&](const TileLaunch& tiled) { return DataGradientLayout<int>(0, size, e, tiled); };
    if (!fit(plan, shape, device, resident_data_gradient(size.N), bytes, layout)) return {};
    return plan;
  });
  if (!found) refuse("a tile of a layer's gradients", device);
  return *found;
}

int fused_tiles(const StackShape& shape, int outputs) {
  constexpr int kWarps = kThreads / 32;
  const int of_conv = shape.K * 2 * shape.D / 32 * (shape.R / 32), of_out = outputs / 32 * (shape.D / 32);
  const int tiles = (of_conv + of_out + kWarps - 1) / kWarps;
  return tiles == 3 ? 4 : tiles;
}

std::optional<LaunchPlan> plan_wide_weight_gradient(const StackShape& shape, int layer, const Device& device) {
  if (shape.dtype == DType::float32 || std::max(shape.R, shape.D) < kWideColumns) return {};
  const auto [left, right] = reach_of(shape);
  LaunchPlan plan = begin(shape, "weight_gradient", layer, 1, {kWideRows, kWideColumns});
  TileLaunch& tiled = plan.tiled;
  tiled.tiling = tile(shape.B, shape.T, shape.dilations[layer], kWideRows, 0, 0, left + right,
                      kWideColumns * shape.element(), kWideMostPhases);
  const int P = tiled.tiling.P();
  tiled.pad_above = right * P, tiled.pad_below = left * P;
  tiled.tap_first[0] = left * P, tiled.tap_step[0] = -P;
  const WideWeightGradientLayout layout(tiled);
  if (layout.end > device.shared_bytes) return {};
  plan.regions = layout.regions(), tiled.shared_bytes = static_cast<size_t>(layout.end), tiled.buffers = kStages;
  return plan;
}

std::optional<LaunchPlan> plan_fused_backward(const StackShape& shape, int layer, bool residual, bool skip,
                                              const Device& device) {
  const int e = shape.element();
  const auto [left, right] = reach_of(shape);
  const int S = skip ? shape.S : 0, outputs = (residual ? shape.R : 0) + S;
  const auto narrow = [](int channels) { return channels == 32 || channels == 64; };
  if (shape.dtype == DType::float32 || !narrow(shape.R) || !narrow(shape.D)) return {};
  if (outputs == 0 || S % 32 != 0) return {};  // none: a gated convolution, or no gradient
  const int tiles = fused_tiles(shape, outputs);
  if (tiles > 4) return {};
  const TileSize size = fused_tile_size(tiles);

  LaunchPlan plan = begin(shape, "fused_backward", layer, 1, size);
  TileLaunch& tiled = plan.tiled;
  tiled.S = S;
  tiled.tiling = tile(shape.B, shape.T, shape.dilations[layer], size.M, right, left, left + right, shape.R * e);
  if (tiled.tiling.tiles == 0) return {};
  const int P = tiled.tiling.P();
  tiled.pad_above = left * P, tiled.pad_below = right * P;
  tiled.tap_first[0] = -left * P, tiled.tap_step[0] = P;
  const auto bytes = [&](bool ring) {
    const PackedGroup group{layer, 1, size.N, ring, residual};
    return packing_of(shape, PackedFor::gate_gradient, S).bytes(group) +
           packing_of(shape, PackedFor::data_gradient, S).bytes(group);
  };
  const auto layout = [&](const TileLaunch& tiled) { return FusedBackwardLayout<int>(0, size, e, tiled, outputs); };
  if (!fit(plan, shape, device, resident_fused_backward(tiles), bytes, layout)) return {};
  return plan;
}

}  // namespace wavenet::cuda
