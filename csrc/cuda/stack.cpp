#include "cuda/stack.h"

#include <algorithm>
#include <utility>

#include "cuda/load.h"
#include "cuda/types.h"
#include "cuda/weight_gradient.h"

namespace wavenet::cuda {

namespace {

int64_t aligned(int64_t bytes) { return (bytes + 255) / 256 * 256; }

const void* at(const void* data, int64_t elements, int element) {
  return data ? static_cast<const char*>(data) + elements * element : nullptr;
}
void* at(void* data, int64_t elements, int element) {
  return data ? static_cast<char*>(data) + elements * element : nullptr;
}

// Elements further on in memory: other channels of the same rows, or another of several tensors.
Rows further(Rows rows, int64_t elements, int element) {
  rows.data = at(rows.data, elements, element);
  return rows;
}

Rows dense(char* data, int64_t T, int64_t channels) { return {data, T * channels, channels, 1}; }

}  // namespace

StackForward::StackForward(StackShape shape, bool residual, bool skip, bool keep, const Device& device)
    : shape_(std::move(shape)), residual_(residual), S_(skip ? shape_.S : 0) {
  if (device.here) load(KernelsOf::forward, shape_.dtype);
  StackShape planned = shape_;
  planned.S = S_;
  launches_ = plan_layers(planned, residual, keep, device);
  for (const LaunchPlan& launch : launches_) {
    const bool last = launch.first + launch.count == shape_.layers();
    packed_.push_back({launch.first, launch.count, launch.tiled.size.N, launch.tiled.ring, !last || residual_,
                       packed_bytes_, launch.tiled.weight_bytes});
    packed_bytes_ += aligned(launch.tiled.weight_bytes);
  }
  // Inputs of groups that nobody keeps alternate between two buffers.
  scratch_count_ = keep ? 0 : std::min<int64_t>(2, static_cast<int64_t>(launches_.size()) - 1);
}

void StackForward::run(const StackTensors& tensors, const ForwardOutputs& outputs, char* workspace,
                       cudaStream_t stream) const {
  if (shape_.B == 0 || shape_.T == 0) return;
  const int e = shape_.element();
  Packing packing = packing_of(shape_, PackedFor::layers, S_);
  packing.conv_weight = tensors.conv_weight, packing.out_weight = tensors.out_weight;
  pack(packing, packed_, workspace, stream);

  LayersArguments args;
  args.x = tensors.x, args.residual_scale = tensors.residual_scale, args.out_channels = packing.out_channels;
  args.skip = outputs.skip, args.z = outputs.z;
  int64_t scratch = 0;
  for (size_t n = 0; n < launches_.size(); ++n) {
    const LaunchPlan& launch = launches_[n];
    args.tiled = launch.tiled, args.layers = launch.count;
    args.tiled.weights = workspace + packed_[n].offset;
    args.conv_bias = at(tensors.conv_bias, int64_t(launch.first) * 2 * shape_.D, e);
    args.out_bias = at(tensors.out_bias, int64_t(launch.first) * args.out_channels, e);
    args.cond = further(tensors.cond, int64_t(launch.first) * 2 * shape_.D, e);
    args.residual = packed_[n].residual;
    args.accumulate_skip = n > 0;
    for (int i = 0; i < launch.count; ++i) {
      const int next = launch.first + i + 1;
      Rows& output = args.output[i];
      output = {};
      if (next == shape_.layers()) {
        output = outputs.residual;
      } else if (outputs.saved.data && next % outputs.checkpoint_every == 0) {
        output = further(outputs.saved, (next / outputs.checkpoint_every - 1) * outputs.saved_stride, e);
      } else if (i + 1 == launch.count) {
        output = dense(workspace + packed_bytes_ + scratch++ % 2 * scratch_bytes(), shape_.T, shape_.R);
      }
    }
    with_type(shape_.dtype, "layers", [&](auto type) { run_layers<decltype(type)>(args, "layers", stream); });
    args.x = args.output[launch.count - 1];
  }
}

StackBackward::StackBackward(StackShape shape, bool residual, bool skip, bool fuse, const Device& device)
    : shape_(std::move(shape)), residual_(residual), skip_(skip) {
  if (device.here) load(KernelsOf::backward, shape_.dtype);
  const int e = shape_.element();
  int64_t bytes = 0, grad_a = 0, partials = 0;
  // As many shares of the rows as make one wave of blocks, each with rows enough to be worth its sums.
  WeightGradientArguments weights = weight_gradient(0);
  weights.grad_residual.data = weights.grad_skip.data = this;  // the most there can be
  const OuterSize outer = kOuterSizes[outer_index(shape_.R, shape_.D)];
  const int resident = device.resident(kResidentWeightGradient, WeightGradientLayout(outer, e).end);
  const auto splits = [&](int64_t blocks, int products) {
    return static_cast<int>(std::max<int64_t>(1, std::min(blocks / products, shape_.B * shape_.T / 512)));
  };

  for (int n = 0; n < shape_.layers(); ++n) {
    Layer layer;
    const bool has_residual = n + 1 < shape_.layers() || residual_;
    if (fuse) layer.fused = plan_fused_backward(shape_, n, has_residual, skip_, device);
    if (layer.fused) {
      layer.splits = layer.fused->tiled.blocks;
    } else {
      layer.gates = plan_gate_gradient(shape_, n, has_residual, skip_, device);
      layer.data = plan_data_gradient(shape_, n, device);
      layer.weights = plan_wide_weight_gradient(shape_, n, device);
      layer.splits = layer.weights ? splits(device.multiprocessors, WideProducts(weights).count())
                                   : splits(resident * device.multiprocessors, weights.tiles(outer.A, outer.B));
      if (layer.weights) layer.weights->tiled.blocks = layer.splits * WideProducts(weights).count();
      grad_a = shape_.B * shape_.T;
    }
    // One after the other, as the fused kernel reads them.
    const auto packed = [&](PackedFor use, const LaunchPlan& launch) {
      PackedGroup group{n, 1, launch.tiled.size.N, launch.tiled.ring, has_residual, bytes};
      group.blocks = !layer.fused;
      group.bytes = packing_of(shape_, use, skip_ ? shape_.S : 0).bytes(group);
      bytes += group.bytes;
      return group;
    };
    packed_gates_.push_back(packed(PackedFor::gate_gradient, layer.fused.value_or(layer.gates)));
    packed_data_.push_back(packed(PackedFor::data_gradient, layer.fused.value_or(layer.data)));
    partials = std::max<int64_t>(partials, layer.splits);
    layers_.push_back(layer);
  }
  grad_a_offset_ = aligned(bytes);
  z_offset_ = grad_a_offset_ + aligned(grad_a * 2 * shape_.D * e);
  scratch_offset_ = z_offset_ + aligned(grad_a * shape_.D * e);
  partial_offset_ = scratch_offset_ + (shape_.layers() > 1 ? aligned(shape_.B * shape_.T * shape_.R * e) : 0);
  partial_bytes_ = partials * weights.partial_size() * int64_t(sizeof(float));
}

std::vector<LaunchPlan> StackBackward::launches() const {
  std::vector<LaunchPlan> launches;
  for (auto layer = layers_.rbegin(); layer != layers_.rend(); ++layer) {
    if (layer->fused) {
      launches.push_back(*layer->fused);
    } else {
      launches.push_back(layer->gates);
      if (layer->weights) launches.push_back(*layer->weights);
      launches.push_back(layer->data);
    }
  }
  return launches;
}

WeightGradientArguments StackBackward::weight_gradient(int layer) const {
  WeightGradientArguments args;
  args.dtype = shape_.dtype, args.B = shape_.B, args.T = shape_.T;
  args.R = shape_.R, args.D = shape_.D, args.S = shape_.S, args.K = shape_.K;
  args.dilation = shape_.dilations[layer], args.left = shape_.left(layer);
  return args;
}

void StackBackward::run(const StackTensors& tensors, const Gradients& gradients, char* workspace,
                        cudaStream_t stream) const {
  if (shape_.B == 0 || shape_.T == 0) return;  // whose gradients are zeros, and the caller's
  const int e = shape_.element(), out_channels = tensors.out_weight ? shape_.R + shape_.S : 0;
  Packing packing = packing_of(shape_, PackedFor::gate_gradient, skip_ ? shape_.S : 0);
  packing.conv_weight = tensors.conv_weight, packing.out_weight = tensors.out_weight;
  packing.residual_scale = tensors.residual_scale;
  pack(packing, packed_gates_, workspace, stream);
  packing.use = PackedFor::data_gradient;
  pack(packing, packed_data_, workspace, stream);

  Rows grad_residual = gradients.residual;
  for (int n = shape_.layers() - 1; n >= 0; --n) {
    const Layer& layer = layers_[n];
    const int64_t a_channel = int64_t(n) * 2 * shape_.D;
    const Rows x = n > 0 ? further(gradients.saved, (n - 1) * gradients.saved_stride, e) : tensors.x;
    const Rows cond = further(tensors.cond, a_channel, e), grad_cond = further(gradients.cond, a_channel, e);
    const void* const conv_bias = at(tensors.conv_bias, a_channel, e);
    const bool local = grad_cond.data && grad_cond.time_stride != 0, want_x = n > 0 || gradients.want_x;
    // Two buffers take turns, so that the last one is the gradient of x.
    const Rows grad_x = n % 2 == 0 ? gradients.x : dense(workspace + scratch_offset_, shape_.T, shape_.R);

    WeightGradientArguments weights = weight_gradient(n);
    weights.x = x, weights.grad_residual = grad_residual, weights.grad_skip = gradients.skip;
    weights.residual_scale = tensors.residual_scale, weights.out_channels = out_channels;
    weights.splits = layer.splits;
    weights.partial = reinterpret_cast<float*>(workspace + partial_offset_);
    weights.conv_weight = at(gradients.conv_weight, n * weights.conv_size(), e);
    weights.conv_bias = at(gradients.conv_bias, a_channel, e);
    weights.out_weight = at(gradients.out_weight, int64_t(n) * out_channels * shape_.D, e);
    weights.out_bias = at(gradients.out_bias, int64_t(n) * out_channels, e);

    if (layer.fused) {
      FusedBackwardArguments fused;
      fused.tiled = layer.fused->tiled, fused.tiled.weights = workspace + packed_gates_[n].offset;
      fused.tiles = fused_tiles(shape_, weights.outputs());
      fused.conv_bias = conv_bias, fused.cond = cond, fused.weight = weights;
      if (want_x) fused.grad_x = grad_x;
      if (local) fused.grad_cond = grad_cond;
      with_type(shape_.dtype, "fused_backward", [&](auto type) {
        using T = decltype(type);
        if constexpr (sizeof(T) == 2) run_fused_backward<T>(fused, "fused_backward", stream);
      });
    } else {
      GateGradientArguments gates;
      gates.tiled = layer.gates.tiled, gates.tiled.weights = workspace + packed_gates_[n].offset;
      gates.x = x, gates.conv_bias = conv_bias, gates.cond = cond;
      gates.grad_residual = grad_residual, gates.grad_skip = gradients.skip, gates.grad_z = gradients.z;
      gates.grad_a = local ? grad_cond : dense(workspace + grad_a_offset_, shape_.T, 2 * shape_.D);
      if (tensors.out_weight) gates.z = dense(workspace + z_offset_, shape_.T, shape_.D);
      with_type(shape_.dtype, "gate_gradient",
                [&](auto type) { run_gate_gradient<decltype(type)>(gates, "gate_gradient", stream); });
      if (grad_cond.data && !local)
        sum_over_time(shape_.dtype, shape_.B, shape_.T, 2 * shape_.D, gates.grad_a, grad_cond, "sum_over_time",
                      stream);
      weights.grad_a = gates.grad_a, weights.z = gates.z;
      if (gradients.wants_weights()) {
        with_type(shape_.dtype, "weight_gradient", [&](auto type) {
          using T = decltype(type);
          if constexpr (sizeof(T) == 2) {
            if (layer.weights)
              return run_wide_weight_gradient<T>({weights, layer.weights->tiled}, "weight_gradient", stream);
          }
          run_weight_gradient<T>(weights, "weight_gradient", stream);
        });
      }
      if (want_x) {
        DataGradientArguments data;
        data.tiled = layer.data.tiled, data.tiled.weights = workspace + packed_data_[n].offset;
        data.grad_a = gates.grad_a, data.grad_residual = grad_residual, data.grad_x = grad_x;
        data.residual_scale = tensors.residual_scale;
        with_type(shape_.dtype, "data_gradient",
                  [&](auto type) { run_data_gradient<decltype(type)>(data, "data_gradient", stream); });
      }
    }
    if (gradients.wants_weights()) sum_partials(weights, "sum_partials", stream);
    grad_residual = grad_x;
  }
}

}  // namespace wavenet::cuda
