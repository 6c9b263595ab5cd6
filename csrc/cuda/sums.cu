// Sums in a fixed order: of the partial weight gradients, and over time.
#include <algorithm>

#include "cuda/launch.h"
#include "cuda/tile.cuh"
#include "cuda/vector.cuh"
#include "cuda/weight_gradient.h"

namespace wavenet::cuda {

namespace {

constexpr int kSumThreads = 256;
// Threads that add up an element: where it has many shares, one for each element would leave most of a device idle.
constexpr int kManyShares = 64, kSumParts = 8;
int sum_parts(const WeightGradientArguments& args) { return args.splits < kManyShares ? 1 : kSumParts; }

// Every PARTS-th of an element's shares: several are asked for before the first is used.
template <int PARTS>
__device__ inline float sum_of_shares(const float* first, int64_t apart, int part, int count) {
  constexpr int kAtOnce = 16;
  float sum = 0;
  for (int done = part; done < count; done += kAtOnce * PARTS) {
    float shares[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int share = done + i * PARTS;
      shares[i] = share < count ? first[share * apart] : 0;
    }
#pragma unroll
    for (float share : shares) sum += share;
  }
  return sum;
}

// A block has PARTS warps for each 32 elements, which add every PARTS-th share. The sums of those, added in order, go
// where the element belongs in the layout of the weights.
template <class T, int PARTS>
__global__ void __launch_bounds__(kSumThreads) sum_partials_kernel(const WeightGradientArguments args) {
  const int warp = threadIdx.x / 32, part = warp % PARTS;
  const int64_t index = (int64_t(blockIdx.x) * (kSumThreads / 32 / PARTS) + warp / PARTS) * 32 + threadIdx.x % 32;
  const int64_t size = args.partial_size();
  const int outputs = args.outputs(), residual = args.residual_channels();
  const int64_t conv_size = args.conv_size(), out_size = args.out_size();
  // Rows of the 1x1s that have no gradient follow the partial sums.
  const int64_t absent = int64_t(args.out_channels - outputs) * (args.D + 1);
  float sum = sum_of_shares<PARTS>(args.partial + index, size, part, index < size ? args.splits : 0);
  if constexpr (PARTS > 1) {
    float* const shared = reinterpret_cast<float*>(shared_memory());
    shared[threadIdx.x] = sum;
    __syncthreads();
    if (part > 0) return;
#pragma unroll
    for (int i = 1; i < PARTS; ++i) sum += shared[threadIdx.x + i * 32];
  }
  if (index >= size + absent) return;

  // Of the 1x1s: which row of out_channels the o-th output is; those without a gradient come last.
  const int64_t first = residual == 0 ? args.out_channels - outputs : 0;
  const auto out_row = [&](int64_t o) { return (o + first) % args.out_channels; };
  const auto scale = [&](int64_t o) { return o < residual ? args.residual_scale : 1.0f; };
  int64_t at = index;
  if (at < conv_size) {
    const int64_t r = at % args.R, c = at / args.R % (2 * args.D), tap = at / args.R / (2 * args.D);
    if (args.conv_weight) static_cast<T*>(args.conv_weight)[(c * args.R + r) * args.K + tap] = from_float<T>(sum);
    return;
  }
  at -= conv_size;
  if (at < out_size) {
    const int64_t d = at % args.D, o = at / args.D;
    if (args.out_weight) static_cast<T*>(args.out_weight)[out_row(o) * args.D + d] = from_float<T>(scale(o) * sum);
    return;
  }
  at -= out_size;
  if (at < 2 * args.D) {
    if (args.conv_bias) static_cast<T*>(args.conv_bias)[at] = from_float<T>(sum);
    return;
  }
  at -= 2 * args.D;
  if (at < outputs) {
    if (args.out_bias) static_cast<T*>(args.out_bias)[out_row(at)] = from_float<T>(scale(at) * sum);
    return;
  }
  at -= outputs;
  const int64_t o = out_row(outputs + at / (args.D + 1)), d = at % (args.D + 1);
  if (d < args.D && args.out_weight) static_cast<T*>(args.out_weight)[o * args.D + d] = from_float<T>(0);
  if (d == args.D && args.out_bias) static_cast<T*>(args.out_bias)[o] = from_float<T>(0);
}

// A block adds up 32 channels of a clip: 8 threads a channel, each every 8th time, then those in order.
template <class T>
__global__ void __launch_bounds__(256)
    sum_over_time_kernel(int64_t times, int64_t channels, const Rows rows, const Rows sums) {
  float* const shared = reinterpret_cast<float*>(shared_memory());
  const int lane = threadIdx.x % 32, part = threadIdx.x / 32;
  const int64_t c = int64_t(blockIdx.x) * 32 + lane, b = blockIdx.y;
  float sum = 0;
  if (c < channels)
    for (int64_t t = part; t < times; t += 8) sum += to_float(row_at<const T>(rows, b, t)[c]);
  shared[threadIdx.x] = sum;
  __syncthreads();
  if (part > 0 || c >= channels) return;
  for (int i = 1; i < 8; ++i) sum += shared[i * 32 + lane];
  row_at<T>(sums, b, 0)[c] = from_float<T>(sum);
}

}  // namespace

template <class T>
void load_sums() {
  load_kernel("sum_partials", sum_partials_kernel<T, 1>);
  load_kernel("sum_partials", sum_partials_kernel<T, kSumParts>);
  load_kernel("sum_over_time", sum_over_time_kernel<T>);
}
template void load_sums<float>();
template void load_sums<__nv_bfloat16>();
template void load_sums<__half>();

void sum_partials(const WeightGradientArguments& args, const char* name, cudaStream_t stream) {
  const int64_t absent = int64_t(args.out_channels - args.outputs()) * (args.D + 1);
  const int parts = sum_parts(args), elements = kSumThreads / parts;  // of a block
  const auto blocks = static_cast<unsigned>((args.partial_size() + absent + elements - 1) / elements);
  with_type(args.dtype, name, [&](auto type) {
    using T = decltype(type);
    const auto kernel = parts == 1 ? sum_partials_kernel<T, 1> : sum_partials_kernel<T, kSumParts>;
    launch(name, kernel, dim3(blocks), dim3(kSumThreads), parts == 1 ? 0 : kSumThreads * sizeof(float), stream, args);
  });
}

void sum_over_time(DType dtype, int64_t B, int64_t T, int64_t C, const Rows& rows, const Rows& sums, const char* name,
                   cudaStream_t stream) {
  const auto across = static_cast<unsigned>((C + 31) / 32);
  with_type(dtype, name, [&](auto type) {
    for (int64_t b = 0; b < B; b += 65535) {
      const auto at = [&](Rows r) {
        r.data = static_cast<decltype(type)*>(r.data) + b * r.batch_stride;
        return r;
      };
      launch(name, sum_over_time_kernel<decltype(type)>,
             dim3(across, static_cast<unsigned>(std::min<int64_t>(B - b, 65535))), dim3(256), 256 * sizeof(float),
             stream, T, C, at(rows), at(sums));
    }
  });
}

}  // namespace wavenet::cuda
