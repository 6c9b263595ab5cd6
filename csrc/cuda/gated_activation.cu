// The gated activation, forward and backward: one pass over memory.
//
//   block (x, y): blockDim.y rows at a time of clip y, y + gridDim.y, ...; the threads along x walk a row's
//   channels, N of them (16 bytes) an access where everything is aligned for that, else one by one.
//
//   row of a:  [ filter: D | gate: D ]  + row of cond  ->  row of z: [ D ]
//   backward:  the same and row of grad_z: [ D ]       ->  row of grad_a: [ filter: D | gate: D ]
//
// Each output element has one writer and nothing is summed, so results are the same in every run.
#include <algorithm>
#include <stdexcept>

#include "cuda/errors.h"
#include "cuda/kernels.h"
#include "cuda/launch.h"
#include "cuda/load.h"
#include "cuda/vector.cuh"

namespace wavenet::cuda {

namespace {

template <class T>
struct View {  // Rows with a type
  T* data;
  int64_t batch_stride, time_stride;

  explicit View(const Rows& rows)
      : data(static_cast<T*>(rows.data)), batch_stride(rows.batch_stride), time_stride(rows.time_stride) {}
  __device__ T* row(int64_t b, int64_t t) const { return data + b * batch_stride + t * time_stride; }
};

// 1 / (1 + exp(-g)): exp overflows to infinity for g below -88, which gives the 0 it should.
__device__ inline float sigmoid(float g) { return 1.0f / (1.0f + expf(-g)); }

template <class T>
struct Arguments {
  int64_t B, T_, D;
  View<const T> a, cond, grad_z;
  View<T> out;  // z, or grad_a
};

template <class T, int N, bool BACKWARD>
__global__ void __launch_bounds__(256) gated_activation_kernel(const Arguments<T> args) {
  const int64_t D = args.D;
  for (int64_t b = blockIdx.y; b < args.B; b += gridDim.y) {
    for (int64_t t = blockIdx.x * int64_t(blockDim.y) + threadIdx.y; t < args.T_;
         t += int64_t(gridDim.x) * blockDim.y) {
      const T* a = args.a.row(b, t);
      const T* cond = args.cond.data ? args.cond.row(b, t) : nullptr;
      T* out = args.out.row(b, t);
      for (int64_t c = int64_t(threadIdx.x) * N; c < D; c += int64_t(blockDim.x) * N) {
        Floats<N> f = load<T, N>(a + c), g = load<T, N>(a + D + c);
        if (cond) {
          const Floats<N> cf = load<T, N>(cond + c), cg = load<T, N>(cond + D + c);
#pragma unroll
          for (int i = 0; i < N; ++i) f.values[i] += cf.values[i], g.values[i] += cg.values[i];
        }
        if constexpr (!BACKWARD) {
#pragma unroll
          for (int i = 0; i < N; ++i) f.values[i] = tanhf(f.values[i]) * sigmoid(g.values[i]);
          store<T, N>(out + c, f);
        } else {
          const Floats<N> grad = load<T, N>(args.grad_z.row(b, t) + c);
#pragma unroll
          for (int i = 0; i < N; ++i) {
            const float tanh = tanhf(f.values[i]), sigma = sigmoid(g.values[i]);
            f.values[i] = grad.values[i] * sigma * (1.0f - tanh * tanh);
            g.values[i] = grad.values[i] * tanh * sigma * (1.0f - sigma);
          }
          store<T, N>(out + c, f);
          store<T, N>(out + D + c, g);
        }
      }
    }
  }
}

// Whether every row starts on a boundary of `bytes`.
bool aligned(const Rows& rows, int64_t element, int64_t bytes) {
  if (!rows.data) return true;
  return reinterpret_cast<uintptr_t>(rows.data) % bytes == 0 && rows.batch_stride * element % bytes == 0 &&
         rows.time_stride * element % bytes == 0;
}

template <class T, int N, bool BACKWARD>
void run_instance(const Arguments<T>& args, const char* name, cudaStream_t stream) {
  constexpr int kThreads = 256;
  const int64_t accesses = (args.D + N - 1) / N;
  unsigned x = 1;
  while (x < accesses && x < kThreads) x *= 2;
  const dim3 block(x, kThreads / x);
  // Enough blocks to fill any device; the loops in the kernel take the rest.
  const int64_t row_groups = (args.T_ + block.y - 1) / block.y;
  const dim3 grid(static_cast<unsigned>(std::min<int64_t>(row_groups, 4096)),
                  static_cast<unsigned>(std::min<int64_t>(args.B, 64)));
  launch(name, gated_activation_kernel<T, N, BACKWARD>, grid, block, 0, stream, args);
}

template <class T, bool BACKWARD>
void run(const Layer& l, const Rows& grad_z, const Rows& out, const char* name, cudaStream_t stream) {
  if (l.B == 0 || l.T == 0 || l.D == 0) return;
  constexpr int kWide = 16 / sizeof(T);
  const Arguments<T> args{l.B,         l.T, l.D, View<const T>(l.a), View<const T>(l.cond), View<const T>(grad_z),
                          View<T>(out)};
  bool wide = l.D % kWide == 0;
  for (const Rows* rows : {&l.a, &l.cond, &grad_z, &out}) wide = wide && aligned(*rows, sizeof(T), 16);
  if (wide) return run_instance<T, kWide, BACKWARD>(args, name, stream);
  run_instance<T, 1, BACKWARD>(args, name, stream);
}

template <bool BACKWARD>
void dispatch(const Layer& l, const Rows& grad_z, const Rows& out, const char* name, cudaStream_t stream) {
  load(KernelsOf::gate, l.dtype);
  with_type(l.dtype, name, [&](auto type) { run<decltype(type), BACKWARD>(l, grad_z, out, name, stream); });
}

}  // namespace

template <class T>
void load_gated_activation() {
  constexpr int kWide = 16 / sizeof(T);
  load_kernel("gated_activation", gated_activation_kernel<T, 1, false>);
  load_kernel("gated_activation", gated_activation_kernel<T, kWide, false>);
  load_kernel("gated_activation_backward", gated_activation_kernel<T, 1, true>);
  load_kernel("gated_activation_backward", gated_activation_kernel<T, kWide, true>);
}
template void load_gated_activation<float>();
template void load_gated_activation<__nv_bfloat16>();
template void load_gated_activation<__half>();

void gated_activation(const Layer& l, cudaStream_t stream) {
  dispatch<false>(l, Rows{}, l.z, "gated_activation", stream);
}

void gated_activation_backward(const Layer& l, const Rows& grad_z, const Rows& grad_a, cudaStream_t stream) {
  dispatch<true>(l, grad_z, grad_a, "gated_activation_backward", stream);
}

cudaError_t find_code() {
  cudaFuncAttributes attributes;
  const cudaError_t status = cudaFuncGetAttributes(&attributes, gated_activation_kernel<float, 1, false>);
  return status == cudaSuccess ? status : (cudaGetLastError(), status);
}

}  // namespace wavenet::cuda
