#include "cuda/stream.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

#include "cuda/layout.h"
#include "cuda/load.h"
#include "cuda/types.h"

namespace wavenet::cuda {

namespace {

std::vector<PackedGroup> one_by_one(const Packing& packing, int N, int layers) {
  std::vector<PackedGroup> groups;
  int64_t offset = 0;
  for (int n = 0; n < layers; ++n) {
    PackedGroup group{n, 1, N, true, true, offset};
    group.bytes = packing.bytes(group);
    offset += group.bytes;
    groups.push_back(group);
  }
  return groups;
}

StreamLayout<int> layout_of(const StreamArguments& plan) {
  return {0, kStreamTileSize, element_bytes(plan.dtype), plan.R, plan.D, plan.S, plan.K, plan.N};
}

}  // namespace

StackStream::StackStream(const StackShape& shape, const Device& device) : shape_(shape) {
  if (shape.layers() > kMostStreamLayers)
    throw std::invalid_argument("a stream has " + std::to_string(shape.layers()) + " layers; up to " +
                                std::to_string(kMostStreamLayers) + " are accepted");
  if (device.here) load(KernelsOf::stream, shape.dtype);
  plan_.dtype = shape.dtype, plan_.R = shape.R, plan_.D = shape.D, plan_.S = shape.S, plan_.K = shape.K;
  plan_.N = std::min(kStreamTileSize.N, 2 * shape.D), plan_.layers = shape.layers();
  std::copy(shape.dilations.begin(), shape.dilations.end(), plan_.dilations);
  for (const int64_t dilation : shape.dilations) plan_.state_rows += (shape.K - 1) * dilation;
  const Packing packing = packing_of(shape, PackedFor::layers, shape.S);
  const PackedGroup last = one_by_one(packing, plan_.N, shape.layers()).back();
  plan_.weight_bytes = static_cast<int>(last.offset + last.bytes);
  plan_.shared_bytes = static_cast<size_t>(layout_of(plan_).end);
  if (plan_.shared_bytes > static_cast<size_t>(device.shared_bytes)) refuse("a stream", device);
}

LaunchPlan StackStream::launch() const {
  LaunchPlan launch;
  launch.kernel = "stream", launch.count = plan_.layers, launch.regions = layout_of(plan_).regions();
  TileLaunch& tiled = launch.tiled;
  tiled.dtype = plan_.dtype, tiled.R = plan_.R, tiled.D = plan_.D, tiled.S = plan_.S, tiled.K = plan_.K;
  tiled.size = {kStreamTileSize.M, plan_.N}, tiled.tiling.own_rows = kStreamTileSize.M;
  tiled.ring = true, tiled.weight_bytes = plan_.weight_bytes;
  tiled.blocks = static_cast<int>(shape_.B), tiled.shared_bytes = plan_.shared_bytes;
  return launch;
}

void StackStream::pack_weights(const void* conv_weight, const void* out_weight, char* to, cudaStream_t stream) const {
  Packing packing = packing_of(shape_, PackedFor::layers, shape_.S);
  packing.conv_weight = conv_weight, packing.out_weight = out_weight;
  pack(packing, one_by_one(packing, plan_.N, shape_.layers()), to, stream);
}

void StackStream::step(StreamArguments chunk, cudaStream_t stream) const {
  if (chunk.B == 0 || chunk.T == 0) return;
  if (chunk.T > std::numeric_limits<int>::max()) throw std::invalid_argument("a chunk of 2^31 times or more");
  StreamArguments args = plan_;
  args.weights = chunk.weights, args.conv_bias = chunk.conv_bias, args.out_bias = chunk.out_bias;
  args.residual_scale = chunk.residual_scale, args.B = chunk.B, args.T = chunk.T;
  args.x = chunk.x, args.cond = chunk.cond, args.residual = chunk.residual, args.skip = chunk.skip;
  args.state = chunk.state, args.positions = chunk.positions;
  with_type(args.dtype, "stream", [&](auto type) { run_stream<decltype(type)>(args, "stream", stream); });
}

}  // namespace wavenet::cuda
