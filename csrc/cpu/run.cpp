#include "cpu/run.h"

#include <algorithm>

#include "cpu/memory.h"
#include "cpu/threads.h"
#include "cpu/tiling.h"

namespace wavenet::cpu {

namespace {

struct Work {
  const Isa& isa;
  Operator op;
  const std::vector<Layer>& layers;
  const std::vector<Tiling>& tilings;
  float* packed;

  // What one thread does; the threads share the loops.
  void operator()(char* scratch) const {
    for (std::size_t n = 0; n < layers.size(); ++n) {
      const Layer& l = layers[n];
      const Tiling& tiling = tilings[n];
      const int64_t units = op == Operator::gate ? 0 : isa.pack_units(l, op);
#pragma omp for schedule(static)
      for (int64_t unit = 0; unit < units; ++unit) isa.pack(l, op, unit, packed);
#pragma omp for schedule(dynamic, 1)
      for (int64_t i = 0; i < tiling.count; ++i) {
        isa.tile(l, op, packed, tiling.clip(i), tiling.begin(i), tiling.end(i, l), scratch);
      }
    }
  }
};

}  // namespace

void run(const Isa& isa, Operator op, const std::vector<Layer>& layers, int threads) {
  std::vector<Tiling> tilings;
  int64_t most_tiles = 0;
  std::size_t packed_bytes = 0, scratch_bytes = 0;
  for (const Layer& l : layers) {
    if (l.B == 0 || l.T == 0) return;
    const Tiling& tiling = tilings.emplace_back(isa, l, std::max(threads, 1));
    most_tiles = std::max(most_tiles, tiling.count);
    scratch_bytes = std::max<std::size_t>(scratch_bytes, isa.scratch_bytes(l, op, tiling.rows));
    if (op != Operator::gate) {
      packed_bytes = std::max<std::size_t>(packed_bytes, isa.packed_floats(l, op) * sizeof(float));
    }
  }
  threads = static_cast<int>(std::clamp<int64_t>(threads, 1, std::max<int64_t>(most_tiles, 1)));
  const Memory packed = allocate(packed_bytes);
  run_on_threads(threads, scratch_bytes, Work{isa, op, layers, tilings, reinterpret_cast<float*>(packed.get())});
}

std::vector<Layer> layers_of(const Stack& stack) {
  const int64_t count = static_cast<int64_t>(stack.dilations.size());
  std::vector<Layer> layers(stack.dilations.size(), stack.first);
  const auto at = [](const void* data, int64_t elements) -> const void* {
    return data ? static_cast<const float*>(data) + elements : nullptr;
  };
  // Inputs that are not saved alternate between the scratch buffers, counted from the end: the last layer may
  // write its residual to scratch[1], and its own input must not be there.
  std::vector<const Rows*> output(layers.size(), nullptr);
  for (int64_t n = count - 2, unsaved = 0; n >= 0; --n) {
    const bool saved = stack.saved.data && (n + 1) % stack.checkpoint_every == 0;
    if (!saved) output[n] = &stack.scratch[unsaved++ % 2];
  }
  for (int64_t n = 0; n < count; ++n) {
    Layer& l = layers[n];
    l.dilation = stack.dilations[n];
    l.left = left_padding(l.K, l.dilation, stack.same_padding);
    l.conv_weight = at(l.conv_weight, n * l.C * l.R * l.K);
    l.conv_bias = at(l.conv_bias, n * l.C);
    l.out_weight = at(l.out_weight, n * (l.R + l.S) * l.D);
    l.out_bias = at(l.out_bias, n * (l.R + l.S));
    l.cond.data = const_cast<void*>(at(l.cond.data, n * l.C));
    l.accumulate_skip = n > 0;
    if (n > 0) l.x = layers[n - 1].residual;
    if (n + 1 == count) continue;
    if (output[n]) {
      l.residual = *output[n];
    } else {
      l.residual = stack.saved;
      const int64_t slot = (n + 1) / stack.checkpoint_every - 1;
      l.residual.data = static_cast<float*>(stack.saved.data) + slot * stack.saved_stride;
    }
  }
  return layers;
}

}  // namespace wavenet::cpu
