// The sums of fused_backward.cuh by wgmma, of a layer that has 64 channels for x and for z.
//
//   of the convolution:  x^T of a tap, rows shifted (fragments)  times  grad_a, 128 channels
//   of the 1x1s:         twice 64 channels of gradients^T        times  z, 64 channels
//
// Each of two warpgroups has one tap and one such pair. What wgmma reads from shared memory, grad_a and z, lies in rows
// of 64 channels, swizzled; of rows that are not own it has zeros.
#pragma once

#include <type_traits>

#include "cuda/intrinsics.cuh"
#include "cuda/outer.cuh"
#include "cuda/product.cuh"
#include "cuda/vector.cuh"
#include "cuda/weight_gradient.h"

namespace wavenet::cuda {

constexpr int kSquare = 64;  // channels

// Whether they do for such a layer.
inline bool has_square_sums(const WeightGradientArguments& args) {
  return args.R == kSquare && args.D == kSquare && args.K <= 2 && args.outputs() % kSquare == 0 &&
         args.outputs() <= 4 * kSquare;
}

// Bytes to channel c, of the first 64, of a row. Row 0 is at a multiple of 1024; rows may be negative.
__device__ inline int swizzled(int row, int c) { return row * kSlabBytes + ((c / 8 ^ (row & 7)) * 16) + c % 8 * 2; }

// Where a lane's fragments of 128 swizzled channels lie, as Contraction says it of others.
template <class RowsTo>
class SwizzledContraction {
 public:
  // row: of the lane's first fragment; the second 64 channels are `next` bytes further on.
  __device__ SwizzledContraction(int row, int half, int next, RowsTo rows_to)
      : row_(row), half_(half), next_(next), rows_to_(rows_to) {}
  __device__ int operator()(int byte) const {
    const int row = row_ + rows_to_(byte / (2 * kSlabBytes)), unit = byte % kSlabBytes / 16 + half_;
    return byte / kSlabBytes % 2 * next_ + row * kSlabBytes + (unit ^ (row & 7)) * 16;
  }
  // Of bytes that lie side by side: a step has as many.
  __device__ int row() const { return kStepBytes; }
  __device__ int jump() const { return 0; }

 private:
  int row_, half_, next_;
  RowsTo rows_to_;
};

template <class T>
class SquareSums;

#ifdef WAVENET_WARPGROUPS
template <class T>
class SquareSums {
 public:
  // Sums of a tap += left^T right over `rows` rows; left: this warp's first channel in row 0.
  __device__ void add_conv(const char* left, int pitch, const char* right, int next, int rows) {
    const int lane = threadIdx.x % 32;
    uint64_t descriptor = rows_descriptor(shared_address(right), next);
#pragma unroll
    for (int row = 0; row < rows; row += 16 * kSteps) {
      uint32_t a[kSteps][4];
#pragma unroll
      for (int step = 0; step < kSteps; ++step) load_left<T>(a[step], left + (row + step * 16) * pitch, pitch, lane);
      warpgroup_arrive();
#pragma unroll
      for (int step = 0; step < kSteps; ++step)
        warpgroup_multiply_rows<T, 128>(conv_, a[step], descriptor + step * kSixteenRows);
      warpgroup_commit();
      descriptor += kSteps * kSixteenRows;
      warpgroup_wait();
    }
  }
  // The same of 64 channels of the 1x1s, of the pair's `half`; each_step(fragment, row) sees the fragments.
  template <class Visit>
  __device__ void add_out(int half, const char* left, int pitch, const char* right, int rows, Visit each_step) {
    const int lane = threadIdx.x % 32;
    uint64_t descriptor = rows_descriptor(shared_address(right), 0);
#pragma unroll 1
    for (int row = 0; row < rows; row += 16 * kSteps) {
      uint32_t a[kSteps][1][4];
#pragma unroll
      for (int step = 0; step < kSteps; ++step) load_left<T>(a[step][0], left + (row + step * 16) * pitch, pitch, lane);
      warpgroup_arrive();
#pragma unroll
      for (int step = 0; step < kSteps; ++step)
        warpgroup_multiply_rows<T, 64>(out_ + half * 32, a[step][0], descriptor + step * kSixteenRows);
      warpgroup_commit();
#pragma unroll
      for (int step = 0; step < kSteps; ++step) each_step(a[step], row + step * 16);
      descriptor += kSteps * kSixteenRows;
      warpgroup_wait();
    }
  }

  // Adds the sums of this warp's 16 channels of grad_a over its rows, all zeros but own ones.
  __device__ static void add_bias(float* sums, const char* a, int next, int rows) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, row = lane / 16 * 8 + lane % 8;
    const char* const from = a + warp / 4 * next + swizzled(row, warp % 4 * 16 + lane / 8 % 2 * 8);
    constexpr uint32_t kOnes = std::is_same_v<T, __half> ? 0x3c003c00u : 0x3f803f80u;
    float of[4] = {};
#pragma unroll 4
    for (int step = 0; step < rows / 16; ++step) {
      uint32_t left[4];
      load_matrices_transposed(left, from + step * (16 * kSlabBytes));
      mma<T>(of, left, kOnes, kOnes);
    }
    add_column(sums + warp * 16, of);
  }
  // A column of mma's sums to 16 others.
  __device__ static void add_column(float* sums, const float (&of)[4]) {
    const int lane = threadIdx.x % 32;
    if (lane % 4 != 0) return;
    sums[lane / 4] += of[0], sums[lane / 4 + 8] += of[2];
  }

  // To where they belong among the partial ones of the block.
  __device__ void write(float* conv, float* out, const WeightGradientArguments& args) const {
    const int lane = threadIdx.x % 32, channel = threadIdx.x / 32 % 4 * 16 + lane / 4, column = lane % 4 * 2;
    const int warpgroup = threadIdx.x / 128;
#pragma unroll
    for (int v = 0; v < 64; v += 2) {
      const int row = channel + v / 2 % 2 * 8;
      float* const to = conv + ((warpgroup * 16 + v / 4) * 8 + column) * kSquare + row;
      if (warpgroup < args.K) to[0] = conv_[v], to[kSquare] = conv_[v + 1];
      const int o = (warpgroup * 2 + v / 32) * kSquare;
      if (o < args.outputs())
        store<float, 2>(out + (o + row) * kSquare + v / 4 % 8 * 8 + column, Floats<2>{{out_[v], out_[v + 1]}});
    }
  }

 private:
  static constexpr int kSteps = 4;                                // of 16 rows, of which products are under way
  static constexpr uint64_t kSixteenRows = 16 * kSlabBytes / 16;  // of a descriptor

  float conv_[64] = {}, out_[64] = {};
};
#endif

}  // namespace wavenet::cuda
