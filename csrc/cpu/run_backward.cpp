#include "cpu/run_backward.h"

#include <algorithm>

#include "cpu/memory.h"
#include "cpu/threads.h"
#include "cpu/tiling.h"

namespace wavenet::cpu {

namespace {

// Tiles are summed group by group, each group by one thread into its own slice. The groups depend on sizes alone,
// so the sums do too. Up to 32 threads find work; for large weights the slices are kept to 64 MiB.
constexpr int64_t kMostGroups = 32;
constexpr int64_t kSliceBudget = int64_t{64} << 20;

// The columns of a slice's matrices are whole vectors of the widest instruction set.
int64_t whole_vectors(int64_t columns) { return (columns + 15) / 16 * 16; }

struct SliceLayout {
  int64_t r_stride, d_stride, conv_weight, conv_bias, out_weight, out_bias, floats;

  explicit SliceLayout(const Layer& l) : r_stride(whole_vectors(l.R)), d_stride(whole_vectors(l.D)) {
    conv_weight = 0;
    conv_bias = conv_weight + l.K * 2 * l.D * r_stride;
    out_weight = conv_bias + whole_vectors(2 * l.D);
    out_bias = out_weight + (l.R + l.S) * d_stride;
    floats = out_bias + whole_vectors(l.R + l.S);
  }

  Slice at(float* base) const {
    return {base + conv_weight, base + conv_bias, base + out_weight, base + out_bias, r_stride, d_stride};
  }
};

// Where one layer's gradients go; null: not wanted.
struct Destination {
  float *conv_weight, *conv_bias, *out_weight, *out_bias;
};

struct Work {
  const Isa& isa;
  const StackGradient& all;
  const std::vector<Gradient>& gradients;  // by layer
  const Tiling& tiling;
  const SliceLayout& layout;
  int64_t groups;
  bool want_weights;
  float* packed;
  float* slices;

  // What one thread does; the threads share the loops.
  void operator()(char* scratch) const {
    for (int64_t n = static_cast<int64_t>(gradients.size()) - 1; n >= 0; --n) {
      const Gradient& g = gradients[n];
      const int64_t units = isa.backward_pack_units(g);
#pragma omp for schedule(static)
      for (int64_t unit = 0; unit < units; ++unit) isa.backward_pack(g, unit, packed);
#pragma omp for schedule(dynamic, 1)
      for (int64_t group = 0; group < groups; ++group) sum_group(g, group, scratch);
      if (g.grad_x.data) {
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < tiling.count; ++i) {
          isa.backward_x_tile(g, packed, tiling.clip(i), tiling.begin(i), tiling.end(i, g.layer), scratch);
        }
      }
      if (want_weights) {
        const Destination to = destination(n, g.layer);
        const int64_t parts = 2 * g.layer.D + g.layer.R + g.layer.S;
#pragma omp for schedule(static)
        for (int64_t part = 0; part < parts; ++part) add_slices(g.layer, to, part);
      }
      if (all.grad_cond.data && all.grad_cond.time_stride == 0) {
#pragma omp for schedule(static)
        for (int64_t b = 0; b < g.layer.B; ++b) sum_cond(g, n, b);
      }
    }
  }

  void sum_group(const Gradient& g, int64_t group, char* scratch) const {
    Slice slice;
    if (want_weights) {
      float* base = slices + group * layout.floats;
      std::fill(base, base + layout.floats, 0.0f);
      slice = layout.at(base);
    }
    const int64_t last = (group + 1) * tiling.count / groups;
    for (int64_t i = group * tiling.count / groups; i < last; ++i) {
      isa.backward_tile(g, packed, tiling.clip(i), tiling.begin(i), tiling.end(i, g.layer), scratch, slice);
    }
  }

  float sum_at(int64_t offset) const {
    float sum = 0.0f;
    for (int64_t group = 0; group < groups; ++group) sum += slices[group * layout.floats + offset];
    return sum;
  }

  // One row of the convolution's weight, or one of the 1x1s', with its bias.
  void add_slices(const Layer& l, const Destination& to, int64_t part) const {
    if (part < 2 * l.D) {
      if (to.conv_bias) to.conv_bias[part] = sum_at(layout.conv_bias + part);
      if (!to.conv_weight) return;
      for (int64_t k = 0; k < l.K; ++k) {
        const int64_t from = layout.conv_weight + (k * 2 * l.D + part) * layout.r_stride;
        for (int64_t r = 0; r < l.R; ++r) to.conv_weight[(part * l.R + r) * l.K + k] = sum_at(from + r);
      }
    } else {
      const int64_t out = part - 2 * l.D;
      if (to.out_bias) to.out_bias[out] = sum_at(layout.out_bias + out);
      if (!to.out_weight) return;
      const int64_t from = layout.out_weight + out * layout.d_stride;
      for (int64_t d = 0; d < l.D; ++d) to.out_weight[out * l.D + d] = sum_at(from + d);
    }
  }

  void sum_cond(const Gradient& g, int64_t n, int64_t b) const {
    const Layer& l = g.layer;
    float* to = static_cast<float*>(all.grad_cond.data) + b * all.grad_cond.batch_stride + n * l.C;
    std::fill(to, to + l.C, 0.0f);
    const float* from = static_cast<const float*>(g.grad_a.data) + b * g.grad_a.batch_stride;
    isa.add_sum(l.T, from, g.grad_a.time_stride, l.C, to);
  }

  Destination destination(int64_t n, const Layer& l) const {
    const auto at = [n](float* data, int64_t size) { return data ? data + n * size : nullptr; };
    return {at(all.conv_weight, l.C * l.R * l.K), at(all.conv_bias, l.C), at(all.out_weight, (l.R + l.S) * l.D),
            at(all.out_bias, l.R + l.S)};
  }
};

std::vector<Gradient> gradients_of(const StackGradient& all) {
  std::vector<Gradient> gradients;
  for (const Layer& layer : layers_of(all.stack)) {
    Gradient& g = gradients.emplace_back();
    g.layer = layer;
    g.grad_residual = g.grad_x = all.grad_x;
    g.grad_skip = all.grad_skip;
    g.grad_a = all.grad_a;
    if (!g.grad_a.data) {
      g.grad_a = all.grad_cond;
      g.grad_a.data = static_cast<float*>(all.grad_cond.data) + (gradients.size() - 1) * layer.C;
    }
  }
  gradients.back().grad_residual = all.grad_residual;
  if (!all.want_x) gradients.front().grad_x = {};
  return gradients;
}

}  // namespace

void run_backward(const Isa& isa, const StackGradient& all, int threads) {
  const std::vector<Gradient> gradients = gradients_of(all);
  const Layer& l = gradients.front().layer;
  if (l.B == 0 || l.T == 0) return;
  const Tiling tiling(isa, l, 1);
  const SliceLayout layout(l);
  const bool want_weights = all.conv_weight || all.conv_bias || all.out_weight || all.out_bias;
  const int64_t slice_bytes = layout.floats * static_cast<int64_t>(sizeof(float));
  const int64_t groups =
      std::min(tiling.count, std::clamp<int64_t>(kSliceBudget / slice_bytes, 4, kMostGroups));

  std::size_t packed_bytes = 0, scratch_bytes = 0;
  for (const Gradient& g : gradients) {
    packed_bytes = std::max<std::size_t>(packed_bytes, isa.backward_packed_floats(g) * sizeof(float));
    scratch_bytes = std::max<std::size_t>(scratch_bytes, isa.backward_scratch_bytes(g, tiling.rows));
  }
  threads = static_cast<int>(std::clamp<int64_t>(threads, 1, tiling.count));
  const Memory packed = allocate(packed_bytes), slices = allocate(want_weights ? slice_bytes * groups : 0);
  run_on_threads(threads, scratch_bytes,
                 Work{isa, all, gradients, tiling, layout, groups, want_weights,
                      reinterpret_cast<float*>(packed.get()), reinterpret_cast<float*>(slices.get())});
}

}  // namespace wavenet::cpu
