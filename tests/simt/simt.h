// What csrc/cuda/intrinsics.cuh is on a GPU, for g++ and a CPU: kernels run a block at a time, each of its threads
// a fibre, in an order drawn from a seed (scheduler.cpp).
//
// What kernels get wrong shows as follows.
//   a missing __syncthreads or __syncwarp   results that change with the seed, since between barriers warps, and the
//                                           lanes of a warp between its operations, run in random order, some far
//                                           ahead of the others
//   a missing copy_async_wait               NaN: a copy lands at random, when it is issued or when it is waited for; an
//                                           error, where a thread exits without it
//   uninitialised shared memory             NaN: it is filled with 0xff before every block
//   addresses outside of memory             AddressSanitizer; without it, only writes around shared memory
//   misaligned addresses of 16-byte accesses, addresses of the wrong memory, divergent warps, deadlocks, launches
//   that a GPU refuses                      the error that launch() throws; it names the kernel, block and thread
//
// What this cannot show: data races that change no output in the orders tried, or in which the order of single
// instructions matters, and any effect of weak memory order, since a thread runs alone until it waits; one missing
// __syncwarp that another operation of the same warp stands in for; races between blocks, which run one after the
// other, so that one that waits for another never ends; the rounding of real tensor cores, which sum less exactly;
// anything about speed. There is no wgmma: kernels multiply by mma here, as on sm_80. tests/sass runs the machine
// code of the same kernels, wgmma as well, and finds races by happens-before, in a block and between blocks, whatever
// the order; its mutations take out each barrier.
//
//   WAVENET_SIMT_SEED              of the order (0)
//   WAVENET_SIMT_SHARED_KB         of shared memory that a block can have (227, as on sm_90; sm_86 and sm_89: 99)
//   WAVENET_SIMT_MULTIPROCESSORS   what the device claims to have (3, so that persistent programs walk several tiles);
//                                  numbers of as many devices, separated by commas
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <math.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#define __launch_bounds__(...)

// As in the part of cuda_runtime.h that only nvcc sees.
template <class T>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, T* kernel) {
  return ::cudaFuncGetAttributes(attributes, reinterpret_cast<const void*>(kernel));
}
template <class T>
cudaError_t cudaFuncSetAttribute(T* kernel, cudaFuncAttribute attribute, int value) {
  return ::cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), attribute, value);
}

#pragma GCC visibility push(hidden)

namespace wavenet::cuda {

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

namespace simt {

constexpr uint32_t kFullMask = 0xffffffffu;

// Runs call(arguments) in every thread of every block. What goes wrong is left to cudaGetLastError(). `parameters`
// are the same arguments as bytes, as a GPU receives them, for who takes launches over: wavenet_simt_run_elsewhere().
void run(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes, void (*call)(const void*),
         const void* arguments, const std::string& parameters);

// One after the other, each aligned as its type wants.
template <class... Parameters>
std::string as_bytes(const Parameters&... parameters) {
  std::string bytes;
  const auto append = [&](const auto& parameter) {
    constexpr size_t alignment = alignof(std::decay_t<decltype(parameter)>);
    bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
    bytes.append(reinterpret_cast<const char*>(&parameter), sizeof parameter);
  };
  (append(parameters), ...);
  return bytes;
}

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, Arguments&&... arguments) {
  static_assert((std::is_trivially_copyable_v<Parameters> && ...), "parameters are copied to the device as bytes");
  static_assert((sizeof(Parameters) + ... + 0) <= 4096, "parameters must fit into 4 KiB");
  struct Call {
    void (*kernel)(Parameters...);
    std::tuple<Parameters...> arguments;
  } call{kernel, {std::forward<Arguments>(arguments)...}};
  run(reinterpret_cast<const void*>(kernel), grid, block, shared_bytes,
      [](const void* what) {
        const Call& call = *static_cast<const Call*>(what);
        std::apply(call.kernel, call.arguments);
      },
      &call, std::apply(as_bytes<Parameters...>, call.arguments));
}

enum class Operand { bfloat16, half, tf32 };

void multiply(Operand type, float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
void load_fragment(uint32_t (&fragment)[4], const void* row, bool transposed);
uint32_t shuffle(const char* name, uint32_t mask, uint32_t bits, unsigned source);
void wait_for_copies(uint32_t newest_that_may_be_pending);
unsigned lane();

template <class T>
uint32_t bits_of(T value) {
  static_assert(sizeof(T) == 4, "shuffles move 32 bits");
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

template <class T>
T of_bits(uint32_t bits) {
  T value;
  std::memcpy(&value, &bits, 4);
  return value;
}

}  // namespace simt

void __syncthreads();
void __syncwarp(uint32_t mask = simt::kFullMask);

// A lane whose source lies outside its segment of `width` lanes receives its own value.
template <class T>
T __shfl_sync(uint32_t mask, T value, int source, int width = 32) {
  const unsigned first = simt::lane() & ~(width - 1);
  return simt::of_bits<T>(
      simt::shuffle("__shfl_sync", mask, simt::bits_of(value), first + (source & (width - 1))));
}
template <class T>
T __shfl_up_sync(uint32_t mask, T value, unsigned delta, int width = 32) {
  const unsigned lane = simt::lane(), within = lane & (width - 1);
  return simt::of_bits<T>(
      simt::shuffle("__shfl_up_sync", mask, simt::bits_of(value), within < delta ? lane : lane - delta));
}
template <class T>
T __shfl_down_sync(uint32_t mask, T value, unsigned delta, int width = 32) {
  const unsigned lane = simt::lane(), within = lane & (width - 1);
  return simt::of_bits<T>(simt::shuffle("__shfl_down_sync", mask, simt::bits_of(value),
                                        within + delta >= unsigned(width) ? lane : lane + delta));
}
template <class T>
T __shfl_xor_sync(uint32_t mask, T value, int lane_mask, int width = 32) {
  const unsigned lane = simt::lane(), source = lane ^ lane_mask, last = lane | (width - 1);
  return simt::of_bits<T>(
      simt::shuffle("__shfl_xor_sync", mask, simt::bits_of(value), source > last ? lane : source));
}

inline uint32_t __float_as_uint(float v) { return simt::bits_of(v); }
inline int __float_as_int(float v) { return simt::of_bits<int>(simt::bits_of(v)); }
inline float __uint_as_float(uint32_t v) { return simt::of_bits<float>(v); }
inline float __int_as_float(int v) { return simt::of_bits<float>(simt::bits_of(v)); }

template <class T>
T __ldg(const T* from) {
  return *from;
}

inline float rsqrtf(float v) { return 1.0f / sqrtf(v); }
inline float __expf(float v) { return expf(v); }
inline float __logf(float v) { return logf(v); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float v) { return 1.0f / v; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __saturatef(float v) { return v > 0 ? v < 1 ? v : 1.0f : 0.0f; }

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
inline int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }

char* shared_memory();
inline int log2_of(int v) { return __builtin_popcount(v - 1); }

void copy_async(void* shared, const void* global, bool valid);
void copy_async_commit();

template <int N>
void copy_async_wait() {
  static_assert(N >= 0);
  simt::wait_for_copies(N);
}

inline void show_to_warpgroups() {}

inline void load_matrices(uint32_t (&fragment)[4], const void* row) { simt::load_fragment(fragment, row, false); }
inline void load_matrices_transposed(uint32_t (&fragment)[4], const void* row) {
  simt::load_fragment(fragment, row, true);
}

template <class T>
void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  static_assert(std::is_same_v<T, __nv_bfloat16> || std::is_same_v<T, __half> || std::is_same_v<T, float>);
  using simt::Operand;
  constexpr Operand type = std::is_same_v<T, __nv_bfloat16> ? Operand::bfloat16
                           : std::is_same_v<T, __half>      ? Operand::half
                                                            : Operand::tf32;
  simt::multiply(type, d, a, b0, b1);
}

inline uint32_t round_tf32(uint32_t bits) {
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fffffffu;  // adding would carry a NaN over into the sign
  return (bits + 0x1000u) & ~0x1fffu;
}

// Off by up to 2^-11 of the result, as the hardware may be, in a way that the bits of the argument decide.
inline float approximate_tanh(float v) {
  if (!isfinite(v)) return tanhf(v);
  const auto hash = static_cast<int32_t>(simt::bits_of(v) * 0x9e3779b1u);
  const float result = tanhf(v) * (1.0f + float(hash) * 0x1p-42f);
  return fminf(fmaxf(result, -1.0f), 1.0f);
}

inline float approximate_exp2(float v) { return exp2f(v); }
inline float approximate_reciprocal(float v) { return 1.0f / v; }

}  // namespace wavenet::cuda

#pragma GCC visibility pop
