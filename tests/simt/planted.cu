// Small kernels with known results, right ones and ones with planted mistakes, for the tests of the simulator. They
// are written against csrc/cuda/intrinsics.cuh alone, so nvcc compiles them as well.
#include <map>
#include <string>

#include "cuda/launch.h"

namespace wavenet::cuda {

namespace {

struct Data {
  const void *a, *b;
  void* out;
  int n;
};

// ---- operations of a warp ----

template <class T>
struct Bits {  // of an element
  using Type = uint16_t;
};
template <>
struct Bits<float> {
  using Type = uint32_t;
};

// One product of a (16, K) and b (K, 8), with K of 32 bytes; element by element into fragments, as the manual's
// formulas for these say.
template <class T>
__global__ void product(Data data) {
  using Element = typename Bits<T>::Type;
  constexpr int K = 32 / sizeof(T), kPerRegister = 4 / sizeof(T);
  const auto* a = static_cast<const Element*>(data.a);
  const auto* b = static_cast<const Element*>(data.b);
  auto* out = static_cast<float*>(data.out);
  const int group = threadIdx.x / 4, in_group = threadIdx.x % 4;
  uint32_t fa[4] = {}, fb[2] = {};
  float d[4];
  for (int i = 0; i < 4 * kPerRegister; ++i) {
    int row, column;
    if (kPerRegister == 2) {
      row = (i < 2) || (4 <= i && i < 6) ? group : group + 8;
      column = i < 4 ? in_group * 2 + (i & 1) : in_group * 2 + (i & 1) + 8;
    } else {
      row = (i == 0 || i == 2) ? group : group + 8;
      column = i < 2 ? in_group : in_group + 4;
    }
    fa[i / kPerRegister] |= uint32_t(a[row * K + column]) << (i % kPerRegister * 16);
  }
  for (int i = 0; i < 2 * kPerRegister; ++i) {
    int row;
    if (kPerRegister == 2) {
      row = i < 2 ? in_group * 2 + (i & 1) : in_group * 2 + (i & 1) + 8;
    } else {
      row = i < 1 ? in_group : in_group + 4;
    }
    fb[i / kPerRegister] |= uint32_t(b[row * 8 + group]) << (i % kPerRegister * 16);
  }
  for (int i = 0; i < 4; ++i) {
    const int row = i < 2 ? group : group + 8, column = in_group * 2 + (i & 1);
    d[i] = out[row * 8 + column];
  }
  mma<T>(d, fa, fb[0], fb[1]);
  for (int i = 0; i < 4; ++i) {
    const int row = i < 2 ? group : group + 8, column = in_group * 2 + (i & 1);
    out[row * 8 + column] = d[i];
  }
}

// The same through load_matrices: a by rows of 32 bytes, and so is b, whose columns they are; or, to be transposed, b
// by its rows of 16 bytes.
template <class T, bool TRANSPOSED>
__global__ void product_of_matrices(Data data) {
  const int lane = threadIdx.x;
  char* a = shared_memory();
  char* b = a + 512;
  for (int i = lane; i < 128; i += 32) reinterpret_cast<uint32_t*>(a)[i] = static_cast<const uint32_t*>(data.a)[i];
  for (int i = lane; i < 64; i += 32) reinterpret_cast<uint32_t*>(b)[i] = static_cast<const uint32_t*>(data.b)[i];
  __syncwarp();
  uint32_t fa[4], fb[4];
  load_matrices(fa, a + lane % 16 * 32 + lane / 16 * 16);
  // Of b there are but two matrices; the lanes that give rows of the others repeat them.
  if (TRANSPOSED) {
    load_matrices_transposed(fb, b + lane % 16 * 16);
  } else {
    load_matrices(fb, b + lane % 8 * 32 + lane / 8 % 2 * 16);
  }
  auto* out = static_cast<float*>(data.out);
  float d[4] = {};
  mma<T>(d, fa, fb[0], fb[1]);
  for (int i = 0; i < 4; ++i) out[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = d[i];
}

__global__ void shuffles(Data data) {
  const int lane = threadIdx.x;
  auto* out = static_cast<int*>(data.out);
  out[lane] = __shfl_sync(0xffffffffu, lane, (lane + 5) % 32);
  out[32 + lane] = __shfl_xor_sync(0xffffffffu, lane, 3);
  out[64 + lane] = __shfl_down_sync(0xffffffffu, lane, 4, 16);
  out[96 + lane] = __shfl_up_sync(0xffffffffu, lane, 1);
  out[128 + lane] = int(__shfl_sync(0xffffffffu, float(lane), 40 + lane / 16, 16));
  if (lane < 8) out[160 + lane] = __shfl_xor_sync(0xffu, unsigned(lane), 1);
}

__global__ void tanh_of(Data data) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < data.n) static_cast<float*>(data.out)[i] = approximate_tanh(static_cast<const float*>(data.a)[i]);
}

__global__ void tf32_of(Data data) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < data.n) static_cast<uint32_t*>(data.out)[i] = round_tf32(static_cast<const uint32_t*>(data.a)[i]);
}

// ---- barriers and waits, each of which can be missing ----

enum Missing { nothing, after_write, after_read };

// Row by row of a (n, threads): each thread's sum of the row so far, by way of sums of warps in shared memory.
template <Missing MISSING>
__global__ void sum_rows(Data data) {
  auto* sums = reinterpret_cast<float*>(shared_memory());
  const int warps = blockDim.x / 32;
  float total = 0;
  for (int row = 0; row < data.n; ++row) {
    float v = static_cast<const float*>(data.a)[row * blockDim.x + threadIdx.x];
    for (int distance = 16; distance; distance /= 2) v += __shfl_xor_sync(0xffffffffu, v, distance);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = v;
    if (MISSING != after_write) __syncthreads();
    for (int warp = 0; warp < warps; ++warp) total += sums[warp];
    if (MISSING != after_read) __syncthreads();
  }
  static_cast<float*>(data.out)[threadIdx.x] = total;
}

// The sum over rows of the row reversed, each warp for itself.
template <Missing MISSING>
__global__ void reverse_in_warps(Data data) {
  auto* row = reinterpret_cast<float*>(shared_memory()) + threadIdx.x / 32 * 32;
  const int lane = threadIdx.x % 32;
  float total = 0;
  for (int i = 0; i < data.n; ++i) {
    row[lane] = static_cast<const float*>(data.a)[i * blockDim.x + threadIdx.x];
    if (MISSING != after_write) __syncwarp();
    total += row[31 - lane];
    if (MISSING != after_read) __syncwarp();
  }
  static_cast<float*>(data.out)[threadIdx.x] = total;
}

// One 16 x 16 tile through load_matrices, stored to shared memory by other lanes.
template <Missing MISSING>
__global__ void load_stored(Data data) {
  char* tile = shared_memory();
  const int lane = threadIdx.x;
  for (int i = lane; i < 128; i += 32) reinterpret_cast<uint32_t*>(tile)[i] = static_cast<const uint32_t*>(data.a)[i];
  if (MISSING != after_write) __syncwarp();
  uint32_t fragment[4];
  load_matrices(fragment, tile + lane * 16);
  for (int i = 0; i < 4; ++i) static_cast<uint32_t*>(data.out)[i * 32 + lane] = fragment[i];
}

enum Pipeline {
  right,
  no_wait,
  wait_for_too_few,
  no_barrier_before_reading,
  no_barrier_before_refilling,
  no_wait_before_exit
};

// Copies rows of 16 bytes a thread through two buffers; each thread writes what its neighbour copied.
template <Pipeline MISTAKE>
__global__ void copy_rows(Data data) {
  char* buffers = shared_memory();
  const int bytes = blockDim.x * 16;
  const auto fetch = [&](int row) {
    const char* from = static_cast<const char*>(data.a) + (row < data.n ? row : 0) * bytes + threadIdx.x * 16;
    copy_async(buffers + row % 2 * bytes + threadIdx.x * 16, from, row < data.n);
    copy_async_commit();
  };
  fetch(0);
  for (int row = 0; row < data.n; ++row) {
    fetch(row + 1);
    if (MISTAKE == wait_for_too_few) copy_async_wait<2>();
    if (MISTAKE != no_wait && MISTAKE != wait_for_too_few) copy_async_wait<1>();
    if (MISTAKE != no_barrier_before_reading) __syncthreads();
    const int neighbour = (threadIdx.x + 32) % blockDim.x;
    reinterpret_cast<float4*>(data.out)[row * blockDim.x + threadIdx.x] =
        reinterpret_cast<const float4*>(buffers + row % 2 * bytes)[neighbour];
    if (MISTAKE != no_barrier_before_refilling) __syncthreads();
  }
  if (MISTAKE != no_wait_before_exit) copy_async_wait<0>();
}

// Half of the threads leave at once; the others still meet at barriers.
__global__ void leave_early(Data data) {
  auto* shared = reinterpret_cast<int*>(shared_memory());
  const int i = threadIdx.x, half = blockDim.x / 2;
  if (i >= half) return;
  shared[i] = i;
  __syncthreads();
  const int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  static_cast<int*>(data.out)[block * half + i] = shared[half - 1 - i];
}

// ---- memory ----

__global__ void copy_index(Data data) {
  auto* out = static_cast<float*>(data.out);
  if (threadIdx.x == 0) out[0] = static_cast<const float*>(data.a)[data.n];
}

__global__ void write_index(Data data) {
  if (threadIdx.x == 0) static_cast<float*>(data.out)[data.n] = 1;
}

__global__ void copy_shared_index(Data data) {
  if (threadIdx.x == 0) static_cast<float*>(data.out)[0] = reinterpret_cast<float*>(shared_memory())[data.n];
}

__global__ void write_shared_index(Data data) {
  if (threadIdx.x == 0) reinterpret_cast<float*>(shared_memory())[data.n] = 1;
}

__global__ void copy_async_index(Data data) {
  if (threadIdx.x) return;
  copy_async(shared_memory(), static_cast<const float*>(data.a) + data.n, true);
  copy_async_commit();
  copy_async_wait<0>();
}

__global__ void load_matrices_at(Data data) {
  uint32_t fragment[4];
  load_matrices(fragment, shared_memory() + data.n);
  static_cast<uint32_t*>(data.out)[threadIdx.x] = fragment[0];
}

__global__ void copy_async_to(Data data) {
  copy_async(shared_memory() + data.n, data.a, true);
  copy_async_commit();
  copy_async_wait<0>();
}

// ---- lanes and threads that do not meet ----

__global__ void exit_before_mma(Data data) {
  if (int(threadIdx.x) == data.n) return;
  float d[4] = {};
  const uint32_t a[4] = {};
  mma<float>(d, a, 0, 0);
}

__global__ void barrier_beside_mma(Data data) {
  if (int(threadIdx.x) == data.n) return __syncthreads();
  float d[4] = {};
  const uint32_t a[4] = {};
  mma<float>(d, a, 0, 0);
}

__global__ void mma_beside_syncwarp(Data data) {
  if (int(threadIdx.x) == data.n) return __syncwarp();
  float d[4] = {};
  const uint32_t a[4] = {};
  mma<__half>(d, a, 0, 0);
}

__global__ void shuffle_outside_of_mask(Data data) {
  if (threadIdx.x < 16) static_cast<int*>(data.out)[threadIdx.x] = __shfl_sync(0xffffu, int(threadIdx.x), data.n);
}

// Warp 0 waits for one of its lanes, which waits for warp 1 at the barrier, which waits for warp 0.
__global__ void deadlock(Data) {
  if (threadIdx.x < 31) __syncwarp();
  __syncthreads();
}

// ---- speed ----

__global__ void many_mma(Data data) {
  float d[4] = {};
  const uint32_t a[4] = {};
  for (int i = 0; i < data.n; ++i) mma<__nv_bfloat16>(d, a, 0, 0);
  static_cast<float*>(data.out)[threadIdx.x] = d[0];
}

__global__ void many_syncwarp(Data data) {
  for (int i = 0; i < data.n; ++i) __syncwarp();
}

__global__ void many_syncthreads(Data data) {
  for (int i = 0; i < data.n; ++i) __syncthreads();
}

struct Case {
  void (*kernel)(Data);
  dim3 grid, block;
  size_t shared_bytes;
};

const std::map<std::string, Case>& cases() {
  static const std::map<std::string, Case> all = {
      {"product_bfloat16", {product<__nv_bfloat16>, 1, 32, 0}},
      {"product_float16", {product<__half>, 1, 32, 0}},
      {"product_float32", {product<float>, 1, 32, 0}},
      {"product_of_matrices_bfloat16", {product_of_matrices<__nv_bfloat16, false>, 1, 32, 768}},
      {"product_of_matrices_float16", {product_of_matrices<__half, false>, 1, 32, 768}},
      {"product_of_matrices_float32", {product_of_matrices<float, false>, 1, 32, 768}},
      {"product_of_transposed_bfloat16", {product_of_matrices<__nv_bfloat16, true>, 1, 32, 768}},
      {"product_of_transposed_float16", {product_of_matrices<__half, true>, 1, 32, 768}},
      {"shuffles", {shuffles, 1, 32, 0}},
      {"tanh", {tanh_of, 1024, 128, 0}},
      {"tf32", {tf32_of, 1024, 128, 0}},
      {"sum_rows", {sum_rows<nothing>, 1, 128, 16}},
      {"sum_rows_missing_after_write", {sum_rows<after_write>, 1, 128, 16}},
      {"sum_rows_missing_after_read", {sum_rows<after_read>, 1, 128, 16}},
      {"reverse_in_warps", {reverse_in_warps<nothing>, 1, 64, 256}},
      {"reverse_in_warps_missing_after_write", {reverse_in_warps<after_write>, 1, 64, 256}},
      {"reverse_in_warps_missing_after_read", {reverse_in_warps<after_read>, 1, 64, 256}},
      {"load_stored", {load_stored<nothing>, 1, 32, 512}},
      {"load_stored_missing_after_write", {load_stored<after_write>, 1, 32, 512}},
      {"copy_rows", {copy_rows<right>, 1, 64, 2048}},
      {"copy_rows_no_wait", {copy_rows<no_wait>, 1, 64, 2048}},
      {"copy_rows_wait_for_too_few", {copy_rows<wait_for_too_few>, 1, 64, 2048}},
      {"copy_rows_no_barrier_before_reading", {copy_rows<no_barrier_before_reading>, 1, 64, 2048}},
      {"copy_rows_no_barrier_before_refilling", {copy_rows<no_barrier_before_refilling>, 1, 64, 2048}},
      {"copy_rows_no_wait_before_exit", {copy_rows<no_wait_before_exit>, 1, 64, 2048}},
      {"leave_early", {leave_early, dim3(3, 5, 2), 96, 192}},
      {"copy_index", {copy_index, 1, 32, 0}},
      {"write_index", {write_index, 1, 32, 0}},
      {"copy_shared_index", {copy_shared_index, 1, 32, 100}},
      {"write_shared_index", {write_shared_index, 1, 32, 100}},
      {"copy_async_index", {copy_async_index, 1, 32, 16}},
      {"load_matrices_at", {load_matrices_at, 1, 32, 64}},
      {"copy_async_to", {copy_async_to, 1, 32, 64}},
      {"exit_before_mma", {exit_before_mma, 1, 32, 0}},
      {"barrier_beside_mma", {barrier_beside_mma, 2, 64, 0}},
      {"mma_beside_syncwarp", {mma_beside_syncwarp, 1, 32, 0}},
      {"mma_of_half_a_warp", {exit_before_mma, 1, 16, 0}},
      {"shuffle_outside_of_mask", {shuffle_outside_of_mask, 1, 32, 0}},
      {"deadlock", {deadlock, 1, 64, 0}},
      {"too_many_threads", {write_index, 1, dim3(32, 33), 0}},
      {"no_blocks", {write_index, 0, 32, 0}},
      {"too_much_shared_memory", {write_index, 1, 32, 49 << 10}},
      {"many_mma", {many_mma, 1, 256, 0}},
      {"many_syncwarp", {many_syncwarp, 1, 256, 0}},
      {"many_syncthreads", {many_syncthreads, 1, 256, 0}},
  };
  return all;
}

}  // namespace

}  // namespace wavenet::cuda

// Why the kernel of that name failed, or null.
extern "C" __attribute__((visibility("default"))) const char* run_planted(const char* name, const void* a,
                                                                          const void* b, void* out, int n) {
  static std::string error;
  try {
    const auto& planted = wavenet::cuda::cases().at(name);
    wavenet::cuda::launch(name, planted.kernel, planted.grid, planted.block, planted.shared_bytes, nullptr,
                          wavenet::cuda::Data{a, b, out, n});
    wavenet::cuda::check(cudaDeviceSynchronize(), name);
    return nullptr;
  } catch (const std::exception& e) {
    return error = e.what(), error.c_str();
  }
}
