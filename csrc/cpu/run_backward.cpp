#include "cpu/run_backward.h"

#include <algorithm>
#include <cstring>

#include "cpu/memory.h"
#include "cpu/threads.h"
#include "cpu/tiling.h"

namespace wavenet::cpu {

namespace {

// Each layer goes through its tiles from the last to the first in chunks, because the gradient of a row needs that of
// later rows' pre-activations: a chunk's tiles do pass 1, then all tiles whose needs are met do pass 2. So only a
// chunk of pre-activations is kept, in a ring. Within a chunk, pass 1 is shared out in groups of tiles, each of
// which adds to a slice of its own. Groups and chunks depend on sizes alone, so the sums do too.
constexpr int64_t kWideTileRows = 336;  // where the sums, read and written for each tile, are not for L2
constexpr int64_t kWideBytes = int64_t{512} << 10;
constexpr int64_t kMostGroups = 32;
constexpr int64_t kTilesPerGroup = 5;
constexpr int64_t kBytesPerRow = 2048;
constexpr int64_t kSliceBudget = int64_t{64} << 20;

int64_t whole_vectors(int64_t columns) { return (columns + 15) / 16 * 16; }  // of the widest instruction set

struct WantedSums {
  bool conv_weight = true, out_weight = true, out_bias = true;

  WantedSums() = default;
  explicit WantedSums(const Gradient& g) : conv_weight(g.conv_weight), out_weight(g.out_weight), out_bias(g.out_bias) {}
};

struct SliceLayout {
  int64_t real, r_stride, d_stride, conv_weight, out_weight, out_bias, reals;

  // Of those sums that are `wanted`.
  SliceLayout(const Layer& l, Operator op, const WantedSums& wanted)
      : real(real_bytes(l.dtype)), r_stride(whole_vectors(l.R)), d_stride(whole_vectors(l.D)) {
    const int64_t out = op == Operator::block ? l.R + l.S : 0;
    conv_weight = 0;
    out_weight = conv_weight + (wanted.conv_weight ? l.K * l.C * r_stride : 0);
    out_bias = out_weight + (wanted.out_weight ? out * d_stride : 0);
    reals = out_bias + (wanted.out_bias ? whole_vectors(out) : 0);
  }
  int64_t bytes() const { return reals * real; }
  int64_t apart = 0;  // bytes between slices
  int64_t stride() const { return bytes() + apart; }

  Slice at(char* base) const {
    const auto part = [&](int64_t from, int64_t to) { return from < to ? base + from * real : nullptr; };
    return {part(conv_weight, out_weight), part(out_weight, out_bias), part(out_bias, reals), r_stride, d_stride};
  }
};

struct Plan {
  Tiling tiling, x_tiling;  // of pass 1, and of pass 2, which has no sums: its inputs are to stay in L2
  SliceLayout layout;
  int64_t groups, chunk;  // tiles in a chunk

  // Made for all sums, so that none depends on which others are wanted.
  Plan(const Kernels& kernels, const Gradient& g, Operator op) : Plan(kernels, g, op, SliceLayout(g.layer, op, {})) {}

 private:
  Plan(const Kernels& kernels, const Gradient& g, Operator op, const SliceLayout& all)
      : tiling(kernels, g.layer, 1, all.bytes() > kWideBytes ? kWideTileRows : kTileRows),
        x_tiling(kernels, g.layer, 1),
        layout(g.layer, op, WantedSums(g)) {
    const Layer& l = g.layer;
    const int64_t tiles = tiling.count, affordable = std::max<int64_t>(4, kSliceBudget / (all.bytes() + 1));
    // A slice is worth its bytes, which are cleared, added to and summed, if rows enough are added to it.
    const int64_t worthwhile = std::max<int64_t>(2, l.B * l.T * kBytesPerRow / (all.bytes() + 1));
    // In fours, and chunks of as many tiles for each of them, so that two or four threads have as much to do.
    groups = std::min({tiles, std::clamp<int64_t>(tiles / 20 / 4 * 4, 4, kMostGroups), affordable, worthwhile});
    chunk = std::min(tiles, groups * kTilesPerGroup);
  }
};

// How many units later and earlier ones pass 2 of a unit reads.
struct Reach {
  int64_t later, earlier;

  explicit Reach(const Layer& l) {
    const int64_t left = l.left, right = (l.K - 1) * l.dilation - left;
    later = paired(l) ? (left + l.dilation) / (2 * l.dilation) * l.dilation : left;
    earlier = paired(l) ? (right + 2 * l.dilation - 1) / (2 * l.dilation) * l.dilation : right;
  }
};

int64_t ring_units(const Layer& l, const Plan& plan) {
  const Reach reach(l);
  const int64_t wanted = (plan.chunk + 2) * plan.tiling.units + reach.later + reach.earlier;
  return std::min(wanted, l.B * plan.tiling.clip_units);
}

// One layer's work, as one thread does it; the threads share the loops.
struct Work {
  const Kernels& kernels;
  Operator op;
  const Gradient& g;
  const Plan& plan;
  char *packed, *slices, *ga_sums;

  const Layer& layer() const { return g.layer; }
  int64_t sums_bytes() const { return layer().C * plan.layout.real; }

  void run(Team& team, char* scratch) const {
    const Tiling& tiling = plan.tiling;
    if (op != Operator::gate) {
      team.share(kernels.backward_pack_units(g, op), [&](int64_t unit) { kernels.backward_pack(g, op, unit, packed); });
    }
    int64_t done = plan.x_tiling.count;  // tiles from here on went through pass 2
    for (int64_t end = tiling.count, begin; end > 0; end = begin) {
      begin = std::max<int64_t>(0, end - plan.chunk);
      // A bare convolution's gradient of a is given: pass 1 is for the weights.
      if (op != Operator::conv || g.wants_slices() || g.wants_sums()) {
        team.share(plan.groups, [&](int64_t group) { pass1(group, begin, end, scratch); });
      }
      if (!g.grad_x.data) continue;
      const int64_t ready = first_ready(begin, done);
      team.share(done - ready, [&](int64_t i) {
        const Tiling& x = plan.x_tiling;
        const int64_t tile = ready + i;
        kernels.backward_x_tile(g, op, packed, x.clip(tile), x.begin(tile), x.end(tile), scratch);
      });
      done = ready;
    }
    if (g.wants_slices()) {
      team.share(layer().C + layer().R + layer().S, [&](int64_t part) { add_slices(part); });
    }
    if (g.wants_sums()) team.share(layer().B + 1, [&](int64_t part) { add_ga_sums(part, scratch); });
  }

  void pass1(int64_t group, int64_t begin, int64_t end, char* scratch) const {
    Slice slice;
    if (g.wants_slices()) {
      char* base = slices + group * plan.layout.stride();
      if (end == plan.tiling.count) std::memset(base, 0, plan.layout.bytes());
      slice = plan.layout.at(base);
    }
    const int64_t tiles = end - begin, last = begin + (group + 1) * tiles / plan.groups;
    for (int64_t i = begin + group * tiles / plan.groups; i < last; ++i) {
      char* sums = g.wants_sums() ? ga_sums + i * sums_bytes() : nullptr;
      const Tiling& tiling = plan.tiling;
      kernels.backward_tile(g, op, packed, tiling.clip(i), tiling.begin(i), tiling.end(i), scratch, slice, sums);
    }
  }

  // The first tile that can do pass 2 when pass 1 has done its own from `begin` on.
  int64_t first_ready(int64_t begin, int64_t done) const {
    const int64_t earlier = Reach(layer()).earlier;
    const auto unit = [](const Tiling& tiling, int64_t tile, int64_t back) {
      return tiling.clip(tile) * tiling.clip_units + std::max<int64_t>(0, tiling.begin(tile) - back);
    };
    while (done > 0 && unit(plan.x_tiling, done - 1, earlier) >= unit(plan.tiling, begin, 0)) --done;
    return done;
  }

  void sum_slices(int64_t offset, int64_t count, char* to, int64_t to_stride) const {
    const SliceLayout& layout = plan.layout;
    kernels.sum_slices(slices + offset * layout.real, layout.stride() / layout.real, plan.groups, count, to, to_stride);
  }

  // One row of the convolution's weight, or one of the 1x1s' with its bias.
  void add_slices(int64_t part) const {
    const Layer& l = layer();
    const SliceLayout& layout = plan.layout;
    const auto at = [&](void* data, int64_t reals) { return static_cast<char*>(data) + reals * layout.real; };
    if (part < l.C) {
      for (int64_t k = 0; g.conv_weight && k < l.K; ++k) {
        const int64_t from = layout.conv_weight + (k * l.C + part) * layout.r_stride;
        sum_slices(from, l.R, at(g.conv_weight, part * l.R * l.K + k), l.K);
      }
      return;
    }
    const int64_t out = part - l.C;
    if (op != Operator::block) return;
    if (g.out_weight) sum_slices(layout.out_weight + out * layout.d_stride, l.D, at(g.out_weight, out * l.D), 1);
    if (g.out_bias) sum_slices(layout.out_bias + out, 1, at(g.out_bias, out), 1);
  }

  // The sums over all tiles (the bias's gradient), or over those of one clip (the conditioning's).
  void add_ga_sums(int64_t part, char* scratch) const {
    const Layer& l = layer();
    const Tiling& tiling = plan.tiling;
    if (part == l.B) {
      if (g.conv_bias) kernels.sum_slices(ga_sums, l.C, tiling.count, l.C, g.conv_bias, 1);
    } else if (g.cond_sum.data) {
      kernels.sum_slices(ga_sums + part * tiling.per_clip * sums_bytes(), l.C, tiling.per_clip, l.C, scratch, 1);
      char* to = static_cast<char*>(g.cond_sum.data) + part * g.cond_sum.batch_stride * storage_bytes(l.dtype);
      kernels.store_reals(scratch, l.C, l.dtype, to);
    }
  }
};

}  // namespace

void run_backward(const Isa& isa, Operator op, std::vector<Gradient> gradients, int threads) {
  const Layer& first = gradients.front().layer;
  if (first.B == 0 || first.T == 0) return;
  const Kernels& kernels = isa.of(first.dtype);
  threads = useful_threads(first, threads);
  std::vector<Plan> plans;
  std::size_t packed_bytes = 0, scratch_bytes = 0, slice_bytes = 0, sums_bytes = 0, ring_bytes = 0;
  const auto at_least = [](std::size_t& bytes, int64_t wanted) {
    bytes = std::max(bytes, static_cast<std::size_t>(wanted));
  };
  for (Gradient& g : gradients) {
    const Layer& l = g.layer;
    const int64_t real = real_bytes(l.dtype);
    Plan& plan = plans.emplace_back(kernels, g, op);
    if (threads > 1) plan.layout.apart = kApart;
    const int64_t tile_bytes = kernels.backward_scratch_bytes(g, op, plan.tiling.units, plan.x_tiling.units);
    at_least(scratch_bytes, std::max(tile_bytes, l.C * real));
    at_least(sums_bytes, plan.tiling.count * l.C * real);
    if (op == Operator::gate) continue;
    at_least(packed_bytes, kernels.backward_packed_reals(g, op) * real);
    if (g.wants_slices()) at_least(slice_bytes, plan.groups * plan.layout.stride());
    if (g.grad_x.data && op != Operator::conv) {
      g.ring = {nullptr, ring_units(l, plan), l.C};
      at_least(ring_bytes, g.ring.units * rows_per_unit(l) * l.C * real);
    }
  }
  const Memory packed = allocate(packed_bytes), slices = allocate(slice_bytes);
  const Memory sums = allocate(sums_bytes), ring = allocate(ring_bytes);
  for (Gradient& g : gradients) {
    if (g.ring.units) g.ring.data = ring.get();
  }
  run_on_threads(threads, scratch_bytes, [&](Team& team, char* scratch) {
    for (std::size_t n = gradients.size(); n-- > 0;) {
      Work{kernels, op, gradients[n], plans[n], packed.get(), slices.get(), sums.get()}.run(team, scratch);
    }
  });
}

std::vector<Gradient> gradients_of(const Isa& isa, const StackGradient& all) {
  std::vector<Gradient> gradients;
  const auto at = [](void* data, int64_t bytes) -> void* { return data ? static_cast<char*>(data) + bytes : nullptr; };
  for (const Layer& layer : layers_of(isa, all.stack)) {
    const int64_t n = static_cast<int64_t>(gradients.size()), real = real_bytes(layer.dtype);
    Gradient& g = gradients.emplace_back();
    g.layer = layer;
    g.grad_residual = g.grad_x = all.grad_x;
    g.grad_skip = all.grad_skip;
    g.conv_weight = at(all.conv_weight, n * layer.C * layer.R * layer.K * real);
    g.conv_bias = at(all.conv_bias, n * layer.C * real);
    g.out_weight = at(all.out_weight, n * (layer.R + layer.S) * layer.D * real);
    g.out_bias = at(all.out_bias, n * (layer.R + layer.S) * real);
    if (all.grad_cond.data) {
      Rows& cond = all.grad_cond.time_stride == 0 ? g.cond_sum : g.grad_a;
      cond = all.grad_cond;
      cond.data = at(all.grad_cond.data, n * layer.C * storage_bytes(layer.dtype));
    }
  }
  gradients.back().grad_residual = all.grad_residual;
  if (!all.want_x) gradients.front().grad_x = {};
  return gradients;
}

}  // namespace wavenet::cpu
