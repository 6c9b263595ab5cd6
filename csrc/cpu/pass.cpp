#include "cpu/pass.h"

#include <utility>
#include <vector>

#include "cpu/memory.h"

namespace wavenet::cpu {

namespace {

Rows at(Rows rows, void* data) {
  rows.data = data;
  return rows;
}

// A call's tensors as kernels take them, and the memory that this takes.
struct Prepared {
  const Execution& how;
  Stack stack;
  std::vector<Memory> held;

  Prepared(const Call& call, const Inputs& inputs, const Execution& execution)
      : how(execution), stack(call.computed(execution)) {
    Layer& l = stack.first;
    if (call.op == Operator::gate) {
      l.a = at(l.a, inputs.x);  // read as it lies
    } else {
      l.x = in_rows(at(l.x, inputs.x), l.R, stack.first.T);
    }
    l.conv_weight = inputs.conv_weight, l.conv_bias = inputs.conv_bias;
    l.out_weight = inputs.out_weight, l.out_bias = inputs.out_bias;
    l.cond = at(l.cond, inputs.cond);  // read as it lies
    if (l.cond.time_stride == 0) l.cond = in_rows(l.cond, layers() * l.C, 1);
  }

  int64_t layers() const { return static_cast<int64_t>(stack.dilations.size()); }
  int64_t rows() const { return stack.first.B * stack.first.T; }

  // (B, T, C), or one time for all, with the channels side by side: as it is, or a copy.
  Rows in_rows(const Rows& from, int64_t C, int64_t times) {
    if (!from.data || from.channel_stride == 1) return from;
    Rows copy = empty_rows(C, times);
    copy_rows(how.isa, from, how.dtype, stack.first.B, times, C, copy, how.threads);
    if (from.time_stride == 0) copy.time_stride = 0;
    return copy;
  }

  Rows empty_rows(int64_t C, int64_t times) {
    const std::size_t bytes = static_cast<std::size_t>(stack.first.B * times * C * storage_bytes(how.dtype));
    void* data = held.emplace_back(allocate(bytes)).get();
    prefer_large_pages(data, bytes);
    return {data, times * C, C};
  }
};

// What the forward pass writes and the backward pass reads.
void keep(Stack& stack, void* saved, int64_t checkpoint_every, void* gates) {
  const Layer& l = stack.first;
  stack.saved = {saved, l.T * l.R, l.R}, stack.saved_stride = l.B * l.T * l.R;
  stack.checkpoint_every = checkpoint_every, stack.gates = gates;
}

}  // namespace

Stack Call::computed(const Execution& how) const {
  Stack result = stack;
  result.first.dtype = how.dtype, result.first.fast = how.fast && how.isa.of(how.dtype).fast;
  return result;
}

void ForwardPass::run(const Inputs& inputs, const Outputs& outputs, const Execution& how) const {
  Prepared prepared(call, inputs, how);
  Stack& stack = prepared.stack;
  stack.first.residual = at(residual, outputs.residual), stack.first.skip = at(skip, outputs.skip);
  keep(stack, outputs.saved, checkpoint_every, outputs.gates);
  // Inputs of layers that are not saved alternate between two buffers; one is the residual output, where there is one.
  const int64_t count = prepared.layers(), kept = outputs.saved ? (count - 1) / checkpoint_every : 0;
  const int64_t unsaved = count - 1 - kept;
  if (unsaved > 0) stack.scratch[0] = prepared.empty_rows(stack.first.R, stack.first.T);
  stack.scratch[1] = stack.first.residual;
  if (unsaved > 1 && !outputs.residual) stack.scratch[1] = prepared.empty_rows(stack.first.R, stack.first.T);
  std::vector<Layer> layers = layers_of(how.isa, stack);
  const bool is_conv = call.op == Operator::conv;
  if (call.op != Operator::block) (is_conv ? layers[0].a : layers[0].z) = at(y, outputs.y);
  const Layer& l = layers[0];
  const int64_t rows = prepared.rows(), bytes = storage_bytes(l.dtype);
  if (outputs.y) prefer_large_pages(outputs.y, rows * (is_conv ? l.C : l.D) * bytes);
  if (outputs.saved) prefer_large_pages(outputs.saved, kept * stack.saved_stride * bytes);
  if (outputs.gates) prefer_large_pages(outputs.gates, count * rows * l.C * bytes);
  if (outputs.residual) prefer_large_pages(outputs.residual, rows * l.R * bytes);
  if (outputs.skip) prefer_large_pages(outputs.skip, rows * l.S * bytes);
  cpu::run(how.isa, call.op, layers, how.threads);
}

void BackwardPass::run(const Inputs& inputs, const Given& given, const Wanted& wanted, const Execution& how) const {
  Prepared prepared(call, inputs, how);
  StackGradient all;
  keep(prepared.stack, given.saved, 1, given.gates);
  all.stack = prepared.stack;
  const Layer& l = all.stack.first;
  const bool is_gate = call.op == Operator::gate;
  all.grad_residual = prepared.in_rows(at(grad_residual, given.residual), l.R, l.T);
  all.grad_skip = prepared.in_rows(at(grad_skip, given.skip), l.S, l.T);
  all.grad_x = at(grad_x, wanted.x), all.want_x = wanted.x != nullptr;
  // It holds the gradients of later layers' inputs as well.
  if (!wanted.x && prepared.layers() > 1) all.grad_x = prepared.empty_rows(l.R, l.T);
  all.grad_cond = at(grad_cond, wanted.cond);
  const int64_t rows = prepared.rows(), bytes = storage_bytes(l.dtype);
  if (wanted.x) prefer_large_pages(wanted.x, rows * (is_gate ? l.C : l.R) * bytes);
  if (wanted.cond && grad_cond.time_stride) prefer_large_pages(wanted.cond, rows * prepared.layers() * l.C * bytes);
  all.conv_weight = wanted.conv_weight, all.conv_bias = wanted.conv_bias;
  all.out_weight = wanted.out_weight, all.out_bias = wanted.out_bias;
  std::vector<Gradient> gradients = gradients_of(how.isa, all);
  if (call.op != Operator::block) {
    Gradient& g = gradients[0];
    const Rows grad = at(grad_y, given.y);
    if (call.op == Operator::conv) {
      g.grad_a = prepared.in_rows(grad, l.C, l.T);
    } else {
      g.grad_z = is_gate ? grad : prepared.in_rows(grad, l.D, l.T);
    }
    if (is_gate) g.grad_a = all.grad_x, g.grad_x = {};
  }
  run_backward(how.isa, call.op, std::move(gradients), how.threads);
}

}  // namespace wavenet::cpu
