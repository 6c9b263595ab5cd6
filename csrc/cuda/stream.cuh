// Streaming: a block takes a clip's chunk through the whole stack, 32 times at a time.
//
//   for each layer:  the older taps' inputs come from the layer's ring in memory, or from x where they are of this
//                    chunk; then x goes into the ring; convolution, gate, 1x1s; x is updated in place
#pragma once

#include "cuda/gate.cuh"
#include "cuda/launch.h"
#include "cuda/layout.h"
#include "cuda/product.cuh"
#include "cuda/stream.h"
#include "cuda/tile.cuh"

namespace wavenet::cuda {

__device__ inline int64_t modulo(int64_t a, int64_t n) { return (a % n + n) % n; }

// Four biases in memory, which may be absent, and may lie anywhere.
template <class T>
__device__ inline Floats<4> four_at(const T* biases, int i) {
  Floats<4> four{};
#pragma unroll
  for (int j = 0; j < 4; ++j)
    if (biases) four.values[j] = to_float(biases[i + j]);
  return four;
}

template <class S>
__global__ void __launch_bounds__(kThreads, 1) stream_kernel(const StreamArguments args) {
  using T = typename S::T;
  constexpr int e = sizeof(T), kUnit = 16 / e;
  char* const shared = shared_memory();
  const StreamLayout<char*> layout(shared, S::tile(), e, args.R, args.D, args.S, args.K, args.N);
  const int x_row = layout.tap.row, z_row = layout.z.row, x_pitch = layout.tap.pitch, z_pitch = layout.z.pitch;
  const int units = args.R / kUnit, tap_bytes = layout.tap.bytes();
  char *const taps = layout.taps_at, *const x = layout.x_at, *const z = layout.z_at;
  float* const skip = reinterpret_cast<float*>(layout.skip_at);
  const Place<S> place;
  Weights<0> weights(args.weights, args.weight_bytes, true, shared, kStages, args.N);
  const int64_t b = blockIdx.x, position = args.positions[b];

  for (int64_t t0 = 0; t0 < args.T; t0 += S::M) {
    // Of the tile; the others are computed like these, from whatever is there, and go nowhere.
    const int rows = static_cast<int>(args.T - t0 < S::M ? args.T - t0 : S::M);
    for (int i = threadIdx.x; i < rows * units; i += kThreads) {
      const int row = i / units, unit = i % units;
      copy_async(x + row * x_pitch + unit * 16, row_at<const T>(args.x, b, t0 + row) + unit * kUnit, true);
    }
    copy_async_commit();
    for (int i = threadIdx.x; i < S::M * args.S; i += kThreads) skip[i] = 0;
    copy_async_wait<0>();
    __syncthreads();

    T* ring = static_cast<T*>(args.state) + b * args.state_rows * args.R;
    for (int layer = 0; layer < args.layers; ++layer) {
      const int64_t dilation = args.dilations[layer], ring_rows = (args.K - 1) * dilation, now = position + t0;
      for (int tap = 0; tap < args.K - 1; ++tap) {
        const int64_t back = (args.K - 1 - tap) * dilation;
        for (int i = threadIdx.x; i < rows * units; i += kThreads) {
          const int row = i / units, unit = i % units;
          char* const to = taps + tap * tap_bytes + row * x_pitch + unit * 16;
          if (row >= back) {
            *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(x + (row - back) * x_pitch + unit * 16);
          } else {
            copy_async(to, ring + modulo(now + row - back, ring_rows) * args.R + unit * kUnit, true);
          }
        }
      }
      copy_async_commit();
      copy_async_wait<0>();
      __syncthreads();
      const int kept = static_cast<int>(ring_rows < rows ? ring_rows : rows);
      for (int i = threadIdx.x; i < kept * units; i += kThreads) {
        const int row = rows - kept + i / units, unit = i % units;
        *reinterpret_cast<uint4*>(ring + modulo(now + row, ring_rows) * args.R + unit * kUnit) =
            *reinterpret_cast<const uint4*>(x + row * x_pitch + unit * 16);
      }
      ring += ring_rows * args.R;

      const T* const bias = args.conv_bias ? static_cast<const T*>(args.conv_bias) + layer * 2 * args.D : nullptr;
      Rows cond = args.cond;
      if (cond.data) cond.data = static_cast<T*>(cond.data) + layer * 2 * args.D;
      for (int c0 = 0; c0 < args.D; c0 += args.N / 2) {
        Accumulators<S, S::kGroups> sums;
        start_with_gate_bias<S>(sums, place, c0, args.D, [&](int c) { return four_at(bias, c); });
        multiply<S, S::kGroups, false>(sums, place, weights, min(args.N, 2 * (args.D - c0)),
                                       taps + place.fragment_offset(x_pitch), x_pitch, args.K * x_row,
                                       Contraction(x_row, tap_bytes, [](int tap) { return tap; }));
#pragma unroll
        for (int f = 0; f < S::kRows; ++f) {
          int t2[2];
#pragma unroll
          for (int row = 0; row < 2; ++row) {
            const int r = place.row_of(f, 2 * row);
            t2[row] = r < rows ? t0 + r : -1;
          }
#pragma unroll
          for (int p = 0; p < S::kGroups / 2; ++p) {
            const int c = c0 + place.pair(p) * 16 + place.fourth();
            if (place.pair(p) * 32 >= args.N || c >= args.D) continue;
            const Pair pair{&sums[f][2 * p]};
            add_conditioning<T>(pair, cond, b, t2, c, args.D);
            store_gates<T>(pair, z + place.row_of(f, 0) * z_pitch + c * e, z_pitch);
          }
        }
      }
      // The next slab's barrier is z's, too, and nobody reads x for the convolution after it.
      const T* const out_bias =
          args.out_bias ? static_cast<const T*>(args.out_bias) + int64_t(layer) * (args.R + args.S) : nullptr;
      for (int part = 0; part < 2; ++part) {  // residual, skip
        const int outputs = part == 0 ? args.R : args.S;
        for (int o0 = 0; o0 < outputs; o0 += args.N) {
          Accumulators<S, S::kGroups> sums;
          start_with_bias<S>(sums, place, o0, outputs, [&](int o) { return four_at(out_bias, part * args.R + o); });
          multiply<S, S::kGroups, false>(sums, place, weights, min(args.N, outputs - o0),
                                         z + place.fragment_offset(z_pitch), z_pitch, z_row,
                                         OneRow());
#pragma unroll
          for (int g = 0; g < S::kGroups; ++g) {
            const int column = place.group(g) * 16 + place.fourth(), o = o0 + column;
            if (column >= args.N || o >= outputs) continue;
#pragma unroll
            for (int f = 0; f < S::kRows; ++f) {
              const Group group{sums[f][g]};
#pragma unroll
              for (int i = 0; i < 2; ++i) {
                const int row = place.row_of(f, 2 * i);
                if (part == 0) {
                  T* const at = reinterpret_cast<T*>(x + row * x_pitch) + o;
                  Floats<4> v = load<T, 4>(at);
                  for (int j = 0; j < 4; ++j) v.values[j] = args.residual_scale * (v.values[j] + group.at(i, j));
                  store<T, 4>(at, v);
                } else {
                  for (int j = 0; j < 4; ++j) skip[row * args.S + o + j] += group.at(i, j);
                }
              }
            }
          }
        }
      }
      __syncthreads();
    }

    // Each thread reads what it will write to itself, for the next times.
    for (int i = threadIdx.x; i < rows * units; i += kThreads) {
      const int row = i / units, unit = i % units;
      *reinterpret_cast<uint4*>(row_at<T>(args.residual, b, t0 + row) + unit * kUnit) =
          *reinterpret_cast<const uint4*>(x + row * x_pitch + unit * 16);
    }
    for (int i = threadIdx.x; i < rows * args.S; i += kThreads)
      row_at<T>(args.skip, b, t0 + i / args.S)[i % args.S] = from_float<T>(skip[i]);
  }
  if (threadIdx.x == 0) args.positions[b] = position + args.T;
  copy_async_wait<0>();  // nothing may arrive after the block has ended
}

template <class T>
using StreamShape = Shape<T, kStreamTileSize.M, kStreamTileSize.N>;

template <class T>
void load_stream() {
  load_kernel("stream", stream_kernel<StreamShape<T>>);
}

template <class T>
void run_stream(const StreamArguments& args, const char* name, cudaStream_t stream) {
  launch(name, stream_kernel<StreamShape<T>>, dim3(static_cast<unsigned>(args.B)), dim3(kThreads), args.shared_bytes,
         stream, args);
}

}  // namespace wavenet::cuda
