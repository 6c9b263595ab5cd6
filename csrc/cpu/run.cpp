#include "cpu/run.h"

#include <algorithm>

#include "cpu/memory.h"
#include "cpu/threads.h"
#include "cpu/tiling.h"

namespace wavenet::cpu {

void run(const Isa& isa, Operator op, const std::vector<Layer>& layers, int threads) {
  const Kernels& kernels = isa.of(layers.front().dtype);
  std::vector<Tiling> tilings;
  int64_t most_tiles = 0;
  std::size_t packed_bytes = 0, scratch_bytes = 0;
  threads = useful_threads(layers.front(), threads);
  for (const Layer& l : layers) {
    if (l.B == 0 || l.T == 0) return;
    const Tiling& tiling = tilings.emplace_back(kernels, l, threads);
    most_tiles = std::max(most_tiles, tiling.count);
    scratch_bytes = std::max<std::size_t>(scratch_bytes, kernels.scratch_bytes(l, op, tiling.units));
    if (op != Operator::gate) {
      packed_bytes = std::max<std::size_t>(packed_bytes, kernels.packed_reals(l, op) * real_bytes(l.dtype));
    }
  }
  const Memory packed = allocate(packed_bytes);
  // What one thread does; the threads share the loops.
  const auto work = [&](Team& team, char* scratch) {
    for (std::size_t n = 0; n < layers.size(); ++n) {
      const Layer& l = layers[n];
      const Tiling& tiling = tilings[n];
      if (op != Operator::gate) {
        team.share(kernels.pack_units(l, op), [&](int64_t unit) { kernels.pack(l, op, unit, packed.get()); });
      }
      team.share(tiling.count, [&](int64_t i) {
        kernels.tile(l, op, packed.get(), tiling.clip(i), tiling.begin(i), tiling.end(i), scratch);
      });
    }
  };
  run_on_threads(static_cast<int>(std::min<int64_t>(threads, most_tiles)), scratch_bytes, work);
}

void copy_rows(const Isa& isa, const Rows& from, DType dtype, int64_t B, int64_t T, int64_t C, const Rows& to,
               int threads) {
  // Parts of 32 kB, each of whole lines of times that are side by side; a thread is worth some of them.
  const int64_t part = std::clamp<int64_t>((int64_t{32} << 10) / (C * storage_bytes(dtype)) / 64 * 64, 64, 4096);
  const int64_t per_clip = (T + part - 1) / part, parts = B * per_clip;
  const int64_t worth = std::clamp<int64_t>(parts / 4, 1, std::max(threads, 1));
  run_on_threads(static_cast<int>(worth), 0, [&](Team& team, char*) {
    team.share(parts, [&](int64_t i) {
      const int64_t begin = i % per_clip * part;
      isa.of(dtype).copy_rows(from, i / per_clip, begin, std::min(begin + part, T), C, dtype, to);
    });
  });
}

std::vector<Layer> layers_of(const Isa& isa, const Stack& stack) {
  const Kernels& kernels = isa.of(stack.first.dtype);
  const int64_t count = static_cast<int64_t>(stack.dilations.size());
  const int64_t weight_bytes = real_bytes(stack.first.dtype);
  const int64_t activation_bytes = storage_bytes(stack.first.dtype);
  std::vector<Layer> layers(stack.dilations.size(), stack.first);
  const auto at = [](const void* data, int64_t bytes) -> const void* {
    return data ? static_cast<const char*>(data) + bytes : nullptr;
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
    l.conv_weight = at(l.conv_weight, n * l.C * l.R * l.K * weight_bytes);
    l.conv_bias = at(l.conv_bias, n * l.C * weight_bytes);
    l.out_weight = at(l.out_weight, n * (l.R + l.S) * l.D * weight_bytes);
    l.out_bias = at(l.out_bias, n * (l.R + l.S) * weight_bytes);
    // A weight that is exactly zero is a term that is to be exactly zero, whatever its input: a masked tap, a pruned
    // network. The sums of fast.h mix taps before they multiply, and leave a rounding error in its place.
    l.fast = l.fast && l.conv_weight && !kernels.has_zero_weight(l);
    l.cond.data = const_cast<void*>(at(l.cond.data, n * l.C * l.cond.channel_stride * activation_bytes));
    l.accumulate_skip = n > 0;
    if (stack.gates) {
      const int64_t layer_bytes = l.B * l.T * l.C * activation_bytes;
      l.a = {static_cast<char*>(stack.gates) + n * layer_bytes, l.T * l.C, l.C};
    }
    if (n > 0) l.x = layers[n - 1].residual;
    if (n + 1 == count) continue;
    if (output[n]) {
      l.residual = *output[n];
    } else {
      l.residual = stack.saved;
      const int64_t slot = (n + 1) / stack.checkpoint_every - 1;
      l.residual.data = static_cast<char*>(stack.saved.data) + slot * stack.saved_stride * activation_bytes;
    }
  }
  return layers;
}

}  // namespace wavenet::cpu
