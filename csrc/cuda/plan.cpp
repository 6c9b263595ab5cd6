#include "cuda/plan.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

#include "cuda/errors.h"

namespace wavenet::cuda {

namespace {

// Where a launch's time goes, in clocks of one multiprocessor, roughly: these decide only what is grouped. An H100
// does 2048 16-bit multiply-adds a clock, half as many in TF32, of which kernels like these reach half, and gets 15
// bytes from memory.
constexpr double kMultiplies = 1024, kBytes = 15, kLaunch = 4000;

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, device), "cudaDeviceGetAttribute");
  return value;
}

// The instances that may serve so many outputs, the best first: those of launch_tiles.h. Slabs wider than the outputs
// are for tiles that would otherwise be too large.
struct Instance {
  int M, N;
};
std::vector<Instance> instances(int outputs) {
  std::vector<Instance> found{{128, 128}, {64, 128}, {32, 128}};
  if (outputs <= 64) found[0].N = outputs <= 32 ? 32 : 64;
  return found;
}

// Whether to look no further for smaller tiles: there are some for every multiprocessor, or this is the last choice.
// Narrow layers fill a device with clips that are too short for that anyway.
bool is_enough(const TileLaunch& on, const Device& device) {
  return on.tiling.tiles >= device.multiprocessors || on.N < 128 || on.M == 32;
}

// Shared memory: weights first, then the tile's inputs, once or twice, then the rest.
struct Room {
  int64_t weights = 0, inputs = 0, rest = 0;
};

// Fills in what follows from the tiling. Weights that stay in shared memory come first: a ring costs a barrier a
// slab, and what it waits for includes the next tile, which two buffers would otherwise load behind the work.
// resident: blocks of a multiprocessor that there are registers for, the kernel's __launch_bounds__.
bool fit(TileLaunch& on, const Room& compact, int64_t ring_bytes, int resident, const Device& device) {
  for (const bool ring : {false, true}) {
    for (const int buffers : {2, 1}) {
      const int64_t weights = ring ? int64_t(kStages) * on.N * kSlabBytes : compact.weights;
      const int64_t bytes = weights + buffers * compact.inputs + compact.rest;
      if (bytes > device.shared_bytes) continue;
      on.ring = ring, on.buffers = buffers, on.shared_bytes = static_cast<size_t>(bytes);
      on.weight_bytes = static_cast<int>(ring ? ring_bytes : compact.weights);
      const int room = static_cast<int>(device.shared_bytes_all / (bytes + 1024));
      on.blocks = static_cast<int>(std::min<int64_t>(
          on.tiling.tiles, int64_t(device.multiprocessors) * std::max(1, std::min(resident, room))));
      return true;
    }
  }
  return false;
}

TileLaunch begin(const StackShape& shape, int M, int N) {
  TileLaunch on;
  on.dtype = shape.dtype, on.M = M, on.N = N;
  on.R = shape.R, on.D = shape.D, on.S = shape.S, on.K = shape.K;
  return on;
}

// Steps of its dilation by which a layer looks back and ahead.
struct Reach {
  int left, right;
};
Reach reach_of(const StackShape& shape) {
  const int left = (shape.K - 1) / (shape.same ? 2 : 1);
  return {left, shape.K - 1 - left};
}

// Layers first .. first + count as one launch; shared_bytes is 0 if that can't be.
TileLaunch plan_group(const StackShape& shape, int first, int count, bool residual, const Device& device) {
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
    if (most_left + most_right + above + below > 128) return {};
    lefts[i] = static_cast<int>(left), steps[i] = static_cast<int>(step);
  }
  const bool last = first + count == shape.layers();
  TileLaunch found;
  for (const auto [M, N] : instances(2 * shape.D)) {
    TileLaunch on = begin(shape, M, N);
    const int left0 = lefts[0], right0 = (shape.K - 1) * steps[0] - left0;
    on.tiling = tile(shape.B, shape.T, base, M, static_cast<int>(above), static_cast<int>(below), left0 + right0,
                     shape.R * e);
    if (on.tiling.tiles == 0) continue;
    const int P = on.tiling.P();
    on.pad_above = static_cast<int>(most_left) * P, on.pad_below = static_cast<int>(most_right) * P;
    on.load_above = left0 * P, on.load_below = right0 * P;
    for (int i = 0; i < count; ++i) on.tap_first[i] = -lefts[i] * P, on.tap_step[i] = steps[i] * P;
    const Packing packing = packing_of(shape, Stream::layers, shape.S);
    PackedGroup group{first, count, N, false, !last || residual};
    Room room;
    room.weights = packing.bytes(group);
    room.inputs = int64_t(on.pad_above + M + on.pad_below) * (shape.R * e + 16);
    room.rest = int64_t(count) * M * (shape.D * e + 16);
    group.ring = true;
    if (!fit(on, room, packing.bytes(group), N == 128 ? 1 : 2, device)) continue;
    found = on;
    if (is_enough(on, device)) break;
  }
  return found;
}

double cost(const StackShape& shape, const TileLaunch& on, int count, bool keep, bool first, const Device& device) {
  const double multiplies =
      double(on.M) * count * (2.0 * shape.K * shape.R * shape.D + double(shape.D) * (shape.R + shape.S));
  const double own = on.tiling.own_rows;
  const double bytes = shape.element() * ((on.M + on.load_above + on.load_below) * double(shape.R) +
                                          own * (shape.R * (keep ? count : 1) + shape.S * (first ? 1 : 2)));
  const double rate = kMultiplies / (shape.dtype == DType::float32 ? 2 : 1);
  const double waves = double((on.tiling.tiles + device.multiprocessors - 1) / device.multiprocessors);
  return waves * std::max(multiplies / rate, bytes / kBytes) + kLaunch;
}

}  // namespace

void refuse(const char* what, const Device& device) {
  throw std::invalid_argument(std::string(what) + " of these sizes does not fit into the " +
                              std::to_string(device.shared_bytes / 1024) +
                              " KiB of shared memory that a block has here");
}

Packing packing_of(const StackShape& shape, Stream stream, int S) {
  Packing packing;
  packing.stream = stream, packing.dtype = shape.dtype;
  packing.R = shape.R, packing.D = shape.D, packing.S = S, packing.K = shape.K;
  packing.out_channels = shape.R + shape.S;
  return packing;
}

Device current_device() {
  int device = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  Device found;
  found.multiprocessors = attribute(cudaDevAttrMultiProcessorCount, device);
  found.shared_bytes = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  found.shared_bytes_all = attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor, device);
  return found;
}

std::vector<Group> plan_layers(const StackShape& shape, bool residual, bool keep, const Device& device) {
  const int layers = shape.layers();
  // The cheapest way to compute the first n layers, and the group that it ends with.
  std::vector<double> costs(layers + 1, std::numeric_limits<double>::infinity());
  std::vector<Group> ends(layers + 1);
  costs[0] = 0;
  for (int first = 0; first < layers; ++first) {
    for (int count = 1; count <= std::min(kMostLayers, layers - first); ++count) {
      const TileLaunch on = plan_group(shape, first, count, residual, device);
      if (on.shared_bytes == 0) break;
      const double total = costs[first] + cost(shape, on, count, keep, first == 0, device);
      if (total < costs[first + count]) costs[first + count] = total, ends[first + count] = {first, count, on};
    }
    if (costs[first + 1] == std::numeric_limits<double>::infinity()) refuse("a tile of a layer", device);
  }
  std::vector<Group> groups;
  for (int end = layers; end > 0; end = groups.back().first) groups.push_back(ends[end]);
  std::reverse(groups.begin(), groups.end());
  return groups;
}

TileLaunch plan_gate_gradient(const StackShape& shape, int layer, bool residual, bool skip, const Device& device) {
  const int e = shape.element(), S = skip ? shape.S : 0;
  const auto [left, right] = reach_of(shape);
  const int64_t gradients = int64_t((residual ? shape.R : 0) + S) * e;
  TileLaunch found;
  for (const auto [M, N] : instances(2 * shape.D)) {
    TileLaunch on = begin(shape, M, N);
    on.S = S;
    on.tiling = tile(shape.B, shape.T, shape.dilations[layer], M, 0, 0, left + right, shape.R * e);
    const int P = on.tiling.P();
    on.pad_above = left * P, on.pad_below = right * P;
    on.tap_first[0] = -left * P, on.tap_step[0] = P;
    const Packing packing = packing_of(shape, Stream::gate_gradient, S);
    PackedGroup group{layer, 1, N, false, residual};
    Room room;
    room.weights = packing.bytes(group);
    room.inputs =
        int64_t(on.pad_above + M + on.pad_below) * (shape.R * e + 16) + (gradients ? M * (gradients + 16) : 0);
    group.ring = true;
    if (!fit(on, room, packing.bytes(group), N == 32 ? 2 : 1, device)) continue;
    found = on;
    if (is_enough(on, device)) break;
  }
  if (found.shared_bytes == 0) refuse("a tile of a layer's gradients", device);
  return found;
}

TileLaunch plan_data_gradient(const StackShape& shape, int layer, const Device& device) {
  const int e = shape.element();
  const auto [left, right] = reach_of(shape);
  TileLaunch found;
  for (const auto [M, N] : instances(shape.R)) {
    TileLaunch on = begin(shape, M, N);
    on.tiling = tile(shape.B, shape.T, shape.dilations[layer], M, 0, 0, left + right, 2 * shape.D * e);
    const int P = on.tiling.P();
    on.pad_above = right * P, on.pad_below = left * P;
    on.tap_first[0] = left * P, on.tap_step[0] = -P;
    const Packing packing = packing_of(shape, Stream::data_gradient, shape.S);
    PackedGroup group{layer, 1, N};
    Room room;
    room.weights = packing.bytes(group);
    room.inputs = int64_t(on.pad_above + M + on.pad_below) * (2 * shape.D * e + 16);
    group.ring = true;
    if (!fit(on, room, packing.bytes(group), N == 128 ? 1 : 2, device)) continue;
    found = on;
    if (is_enough(on, device)) break;
  }
  if (found.shared_bytes == 0) refuse("a tile of a layer's gradients", device);
  return found;
}

int fused_tiles(const StackShape& shape, int outputs) {
  constexpr int kWarps = kThreads / 32;
  const int of_conv = shape.K * 2 * shape.D / 32 * (shape.R / 32), of_out = outputs / 32 * (shape.D / 32);
  return (std::max(of_conv, of_out) + kWarps - 1) / kWarps;
}

TileLaunch plan_fused_backward(const StackShape& shape, int layer, bool residual, bool skip, const Device& device) {
  constexpr int M = 128, N = 64;
  const int e = shape.element();
  const auto [left, right] = reach_of(shape);
  const int S = skip ? shape.S : 0, outputs = (residual ? shape.R : 0) + S;
  const auto narrow = [](int channels) { return channels == 32 || channels == 64; };
  if (shape.dtype == DType::float32 || !narrow(shape.R) || !narrow(shape.D)) return {};
  if (outputs == 0 || S % 32 != 0) return {};  // none: a gated convolution, or no gradient
  if (fused_tiles(shape, outputs) > 2 || 2 * shape.D + outputs > kFusedColumns) return {};

  TileLaunch on = begin(shape, M, N);
  on.S = S;
  on.tiling = tile(shape.B, shape.T, shape.dilations[layer], M, right, left, left + right, shape.R * e);
  if (on.tiling.tiles == 0) return {};
  const int P = on.tiling.P();
  on.pad_above = left * P, on.pad_below = right * P;
  on.tap_first[0] = -left * P, on.tap_step[0] = P;
  Room room;
  const int64_t rows = on.pad_above + M + on.pad_below, x_pitch = shape.R * e + 16;
  room.inputs = rows * x_pitch + M * (std::max(outputs, shape.R) * e + 16);
  room.rest = rows * (2 * shape.D * e + 16) + M * (shape.D * e + 16);
  int64_t bytes[2];
  for (const bool ring : {false, true}) {
    const PackedGroup group{layer, 1, N, ring, residual};
    bytes[ring] = packing_of(shape, Stream::gate_gradient, S).bytes(group) +
                  packing_of(shape, Stream::data_gradient, S).bytes(group);
  }
  room.weights = bytes[false];
  return fit(on, room, bytes[true], 1, device) ? on : TileLaunch{};
}

}  // namespace wavenet::cuda
