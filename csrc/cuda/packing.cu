#include <algorithm>

#include "cuda/launch.h"
#include "cuda/packing.h"
#include "cuda/vector.cuh"

namespace wavenet::cuda {

namespace {

constexpr int kMostGroups = 64;  // of one launch: its parameters hold them

struct Groups {
  PackedGroup all[kMostGroups];
};

// A 16-byte unit of one product: its output and where in the contraction it starts, in elements.
struct Unit {
  int output, element;
};

template <class T>
__device__ Unit unit_at(int64_t at, int outputs, int bytes, int N, bool ring) {
  const int64_t chunk_bytes = product_bytes(N, bytes, N, true);
  const int chunk = static_cast<int>(at / chunk_bytes);
  const int rows = ring || outputs - chunk * N > N ? N : outputs - chunk * N;
  const int in_chunk = static_cast<int>(at % chunk_bytes), slab_bytes = rows * kSlabBytes,
            slab = in_chunk / slab_bytes;
  const int row = in_chunk % slab_bytes / kSlabBytes, unit = in_chunk % kSlabBytes / 16 ^ (row & 7);
  return {chunk * N + row, (slab * kSlabBytes + unit * 16) / static_cast<int>(sizeof(T))};
}

// Which output a product has in row n of its slabs.
__device__ int output_at(int n) { return n / 16 * 16 + n % 8 / 2 * 4 + n / 8 % 2 * 2 + n % 2; }

// The same of a convolution, whose filters and gates alternate by 8: as a channel of 2D.
__device__ int gated_channel(int n, int D) { return n / 8 % 2 * D + output_at(n / 16 * 8 + n % 8); }

template <class T>
class Source {
 public:
  __device__ explicit Source(const Packing& p)
      : p_(p), conv_(static_cast<const T*>(p.conv_weight)), out_(static_cast<const T*>(p.out_weight)) {}

  __device__ T conv(int layer, int channel, int r, int tap) const {
    return conv_[((int64_t(layer) * 2 * p_.D + channel) * p_.R + r) * p_.K + tap];
  }
  __device__ T out(int layer, int o, int d) const { return out_[(int64_t(layer) * p_.out_channels + o) * p_.D + d]; }

  // What belongs at byte `at` of a group's stream.
  __device__ void unit(int64_t at, const PackedGroup& group, T (&values)[16 / sizeof(T)]) const {
    switch (p_.use) {
      case PackedFor::layers:
        return of_layers(at, group, values);
      case PackedFor::gate_gradient:
        return of_gate_gradient(at, group, values);
      case PackedFor::data_gradient: {
        const int depth = p_.K * 2 * p_.D;
        const int block = group.blocks ? min(2 * p_.D, kSlabBytes / e) : 2 * p_.D;  // of channels
        const Unit u = unit_at<T>(at, p_.R, depth * e, group.N, group.ring);
        return fill(values, u, p_.R, depth,
                    [&](int n, int c) {
                      const int channel = c / (p_.K * block) * block + c % block;
                      return conv(group.first, channel, output_at(n), c / block % p_.K);
                    });
      }
    }
  }

 private:
  static constexpr int e = sizeof(T);

  __device__ void of_layers(int64_t at, const PackedGroup& group, T (&values)[16 / sizeof(T)]) const {
    const int64_t conv_bytes = product_bytes(2 * p_.D, p_.K * p_.R * e, group.N, group.ring);
    const int64_t residual_bytes = product_bytes(p_.R, p_.D * e, group.N, group.ring);
    for (int i = 0; i < group.count; ++i) {
      const int layer = group.first + i;
      if (at < conv_bytes) return convolution(at, layer, group, values);
      at -= conv_bytes;
      if (i + 1 == group.count && !group.residual) continue;
      if (at < residual_bytes) {
        const Unit u = unit_at<T>(at, p_.R, p_.D * e, group.N, group.ring);
        return fill(values, u, p_.R, p_.D, [&](int n, int d) { return out(layer, output_at(n), d); });
      }
      at -= residual_bytes;
    }
    const int depth = group.count * p_.D;
    const Unit u = unit_at<T>(at, p_.S, depth * e, group.N, group.ring);
    fill(values, u, p_.S, depth,
         [&](int n, int c) { return out(group.first + c / p_.D, p_.R + output_at(n), c % p_.D); });
  }

  // Chunk by chunk, the convolution's N outputs and the N / 2 columns of V of their gates.
  __device__ void of_gate_gradient(int64_t at, const PackedGroup& group, T (&values)[16 / sizeof(T)]) const {
    const int residual = group.residual ? p_.R : 0, depth = residual + p_.S, gates = min(group.N / 2, p_.D);
    const PackedColumns columns(gates, depth * e, group);
    const int64_t conv_chunk = product_bytes(2 * gates, p_.K * p_.R * e, group.N, group.ring);
    const int64_t chunk_bytes = conv_chunk + columns.bytes();
    const int chunk = static_cast<int>(at / chunk_bytes);
    at %= chunk_bytes;
    if (at < conv_chunk) return convolution(chunk * conv_chunk + at, group.first, group, values);
    const Unit u = unit_at<T>(at - conv_chunk, gates, columns.depth_bytes, columns.rows, true);
    fill(values, u, gates, depth, [&](int n, int c) {
      const T v = out(group.first, c < residual ? c : p_.R + c - residual, chunk * gates + output_at(n));
      return c < residual ? from_float<T>(p_.residual_scale * to_float(v)) : v;
    });
  }

  __device__ void convolution(int64_t at, int layer, const PackedGroup& group, T (&values)[16 / sizeof(T)]) const {
    const Unit u = unit_at<T>(at, 2 * p_.D, p_.K * p_.R * e, group.N, group.ring);
    fill(values, u, 2 * p_.D, p_.K * p_.R,
         [&](int n, int c) { return conv(layer, gated_channel(n, p_.D), c % p_.R, c / p_.R); });
  }

  // Zeros beyond the outputs and the contraction: the slabs' padding.
  template <class At>
  __device__ void fill(T (&values)[16 / sizeof(T)], Unit u, int outputs, int depth, At at) const {
    for (int i = 0; i < int(16 / sizeof(T)); ++i) {
      T v = from_float<T>(0);
      if (u.output < outputs && u.element + i < depth) v = at(u.output, u.element + i);
      if constexpr (sizeof(T) == 4) v = __uint_as_float(round_tf32(__float_as_uint(v)));
      values[i] = v;
    }
  }

  const Packing& p_;
  const T *conv_, *out_;
};

template <class T>
__global__ void __launch_bounds__(256) pack_kernel(const Packing packing, const Groups groups, char* to) {
  const PackedGroup& group = groups.all[blockIdx.y];
  const Source<T> source(packing);
  for (int64_t at = 16 * (int64_t(blockIdx.x) * blockDim.x + threadIdx.x); at < group.bytes;
       at += int64_t(16) * gridDim.x * blockDim.x) {
    Pack<T, 16 / sizeof(T)> unit;
    source.unit(at, group, unit.values);
    *reinterpret_cast<Pack<T, 16 / sizeof(T)>*>(to + group.offset + at) = unit;
  }
}

}  // namespace

int64_t Packing::bytes(const PackedGroup& group) const {
  const int e = element(), N = group.N;
  if (use == PackedFor::data_gradient) return product_bytes(R, K * 2 * D * e, N, group.ring);
  const int64_t conv = product_bytes(2 * D, K * R * e, N, group.ring);
  if (use == PackedFor::gate_gradient) {
    const int depth = (group.residual ? R : 0) + S, gates = std::min(N / 2, D);
    return conv + D / gates * PackedColumns(gates, depth * e, group).bytes();
  }
  const int residuals = group.residual ? group.count : group.count - 1;
  return group.count * conv + residuals * product_bytes(R, D * e, N, group.ring) +
         product_bytes(S, group.count * D * e, N, group.ring);
}

template <class T>
void load_pack() {
  load_kernel("pack", pack_kernel<T>);
}
template void load_pack<float>();
template void load_pack<__nv_bfloat16>();
template void load_pack<__half>();

void pack(const Packing& packing, const std::vector<PackedGroup>& groups, char* to, cudaStream_t stream) {
  for (size_t done = 0; done < groups.size(); done += kMostGroups) {
    const size_t count = std::min<size_t>(groups.size() - done, kMostGroups);
    Groups part;
    int64_t most = 0;
    for (size_t i = 0; i < count; ++i) {
      part.all[i] = groups[done + i];
      most = std::max(most, part.all[i].bytes);
    }
    const dim3 grid(static_cast<unsigned>(std::min<int64_t>((most / 16 + 255) / 256, 64)),
                    static_cast<unsigned>(count));
    with_type(packing.dtype, "pack", [&](auto type) {
      launch("pack", pack_kernel<decltype(type)>, grid, dim3(256), 0, stream, packing, part, to);
    });
  }
}

}  // namespace wavenet::cuda
