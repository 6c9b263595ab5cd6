#include "cuda/stack.h"

#include <algorithm>
#include <utility>

#include "cuda/run.h"
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

StackForward::StackForward(StackShape shape, bool residual, bool keep)
    : shape_(std::move(shape)), residual_(residual), groups_(plan_layers(shape_, residual, keep, current_device())) {
  for (const Group& group : groups_) {
    PackedGroup packed{group.first, group.count, group.on.ring, !is_last(group) || residual_, packed_bytes_,
                       group.on.weight_bytes};
    packed_.push_back(packed);
    packed_bytes_ += aligned(packed.bytes);
  }
  // Inputs of groups that nobody keeps alternate between two buffers.
  scratch_count_ = keep ? 0 : std::min<int64_t>(2, static_cast<int64_t>(groups_.size()) - 1);
}

std::vector<int> StackForward::groups() const {
  std::vector<int> counts;
  for (const Group& group : groups_) counts.push_back(group.count);
  return counts;
}

void StackForward::run(const StackTensors& tensors, const ForwardOutputs& outputs, char* workspace,
                       cudaStream_t stream) const {
  if (shape_.B == 0 || shape_.T == 0) return;
  const int e = shape_.element();
  Packing packing = packing_of(shape_, Stream::layers, groups_[0].on.N, shape_.S);
  packing.conv_weight = tensors.conv_weight, packing.out_weight = tensors.out_weight;
  pack(packing, packed_, workspace, stream);

  LayersArguments args;
  args.x = tensors.x, args.residual_scale = tensors.residual_scale, args.out_channels = packing.out_channels;
  args.skip = outputs.skip, args.z = outputs.z;
  int64_t scratch = 0;
  for (size_t n = 0; n < groups_.size(); ++n) {
    const Group& group = groups_[n];
    args.on = group.on, args.layers = group.count;
    args.on.weights = workspace + packed_[n].offset;
    args.conv_bias = at(tensors.conv_bias, int64_t(group.first) * 2 * shape_.D, e);
    args.out_bias = at(tensors.out_bias, int64_t(group.first) * args.out_channels, e);
    args.cond = further(tensors.cond, int64_t(group.first) * 2 * shape_.D, e);
    args.residual = packed_[n].residual;
    args.accumulate_skip = n > 0;
    for (int i = 0; i < group.count; ++i) {
      const int next = group.first + i + 1;
      Rows& output = args.output[i];
      output = {};
      if (next == shape_.layers()) {
        output = outputs.residual;
      } else if (outputs.saved.data && next % outputs.checkpoint_every == 0) {
        output = further(outputs.saved, (next / outputs.checkpoint_every - 1) * outputs.saved_stride, e);
      } else if (i + 1 == group.count) {
        output = dense(workspace + packed_bytes_ + scratch++ % 2 * scratch_bytes(), shape_.T, shape_.R);
      }
    }
    WAVENET_RUN(run_layers, args, shape_.dtype, stream)
    args.x = args.output[group.count - 1];
  }
}

StackBackward::StackBackward(StackShape shape, bool residual, bool skip)
    : shape_(std::move(shape)), residual_(residual), skip_(skip) {
  const Device device = current_device();
  const int layers = shape_.layers(), e = shape_.element();
  int64_t bytes = 0;
  for (int n = 0; n < layers; ++n) {
    const bool has_residual = n + 1 < layers || residual_;
    gates_.push_back(plan_gate_gradient(shape_, n, has_residual, skip_, device));
    data_.push_back(plan_data_gradient(shape_, n, device));
    packed_gates_.push_back({n, 1, gates_[n].ring, has_residual, bytes, gates_[n].weight_bytes});
    bytes += aligned(gates_[n].weight_bytes);
    packed_data_.push_back({n, 1, data_[n].ring, true, bytes, data_[n].weight_bytes});
    bytes += aligned(data_[n].weight_bytes);
  }
  grad_a_offset_ = bytes;
  z_offset_ = grad_a_offset_ + aligned(shape_.B * shape_.T * 2 * shape_.D * e);
  partial_offset_ = z_offset_ + aligned(shape_.B * shape_.T * shape_.D * e);
  // As many shares of the rows as make two blocks for every multiprocessor, each with rows enough to be worth its sums.
  WeightGradientArguments weights = weight_gradient(0);
  weights.grad_residual.data = weights.grad_skip.data = this;  // the most there can be
  const OuterSize outer = outer_size(shape_.R, shape_.D);
  const int64_t wanted = 2 * device.multiprocessors / weights.tiles(outer.A, outer.B);
  splits_ = static_cast<int>(std::max<int64_t>(1, std::min(wanted, shape_.B * shape_.T / 512)));
  partial_bytes_ = splits_ * weights.partial_size() * int64_t(sizeof(float));
}

WeightGradientArguments StackBackward::weight_gradient(int layer) const {
  WeightGradientArguments args;
  args.dtype = shape_.dtype, args.B = shape_.B, args.T = shape_.T;
  args.R = shape_.R, args.D = shape_.D, args.S = shape_.S, args.K = shape_.K;
  args.dilation = shape_.dilations[layer], args.left = shape_.left(layer);
  args.splits = splits_;
  return args;
}

void StackBackward::run(const StackTensors& tensors, const Gradients& gradients, char* workspace,
                        cudaStream_t stream) const {
  if (shape_.B == 0 || shape_.T == 0) return;
  const int layers = shape_.layers(), e = shape_.element(), out_channels = tensors.out_weight ? shape_.R + shape_.S : 0;
  Packing packing = packing_of(shape_, Stream::gate_gradient, gates_[0].N, skip_ ? shape_.S : 0);
  packing.conv_weight = tensors.conv_weight, packing.out_weight = tensors.out_weight;
  packing.residual_scale = tensors.residual_scale;
  pack(packing, packed_gates_, workspace, stream);
  packing.stream = Stream::data_gradient, packing.N = data_[0].N;
  pack(packing, packed_data_, workspace, stream);

  Rows grad_residual = gradients.residual;
  for (int n = layers - 1; n >= 0; --n) {
    const int64_t a_channel = int64_t(n) * 2 * shape_.D;
    const bool local = gradients.cond.data && gradients.cond.time_stride != 0;

    GateGradientArguments gates;
    gates.on = gates_[n], gates.on.weights = workspace + packed_gates_[n].offset;
    gates.x = n > 0 ? further(gradients.saved, (n - 1) * gradients.saved_stride, e) : tensors.x;
    gates.conv_bias = at(tensors.conv_bias, a_channel, e);
    gates.cond = further(tensors.cond, a_channel, e);
    gates.grad_residual = grad_residual, gates.grad_skip = gradients.skip, gates.grad_z = gradients.z;
    gates.grad_a = local ? further(gradients.cond, a_channel, e)
                         : dense(workspace + grad_a_offset_, shape_.T, 2 * shape_.D);
    if (tensors.out_weight) gates.z = dense(workspace + z_offset_, shape_.T, shape_.D);
    WAVENET_RUN(run_gate_gradient, gates, shape_.dtype, stream)
    if (gradients.cond.data && !local)
      sum_over_time(shape_.dtype, shape_.B, shape_.T, 2 * shape_.D, gates.grad_a,
                    further(gradients.cond, a_channel, e), "sum_over_time", stream);

    if (gradients.wants_weights()) {
      WeightGradientArguments weights = weight_gradient(n);
      weights.x = gates.x, weights.grad_a = gates.grad_a, weights.z = gates.z;
      weights.grad_residual = grad_residual, weights.grad_skip = gradients.skip;
      weights.residual_scale = tensors.residual_scale, weights.out_channels = out_channels;
      weights.partial = reinterpret_cast<float*>(workspace + partial_offset_);
      weights.conv_weight = at(gradients.conv_weight, n * weights.conv_size(), e);
      weights.conv_bias = at(gradients.conv_bias, a_channel, e);
      weights.out_weight = at(gradients.out_weight, int64_t(n) * out_channels * shape_.D, e);
      weights.out_bias = at(gradients.out_bias, int64_t(n) * out_channels, e);
      WAVENET_RUN(run_weight_gradient, weights, shape_.dtype, stream)
      sum_partials(weights, "sum_partials", stream);
    }

    if (n == 0 && !gradients.want_x) break;
    DataGradientArguments data;
    data.on = data_[n], data.on.weights = workspace + packed_data_[n].offset;
    data.grad_a = gates.grad_a, data.grad_residual = grad_residual, data.grad_x = gradients.x;
    data.residual_scale = tensors.residual_scale;
    WAVENET_RUN(run_data_gradient, data, shape_.dtype, stream)
    grad_residual = gradients.x;
  }
}

}  // namespace wavenet::cuda
