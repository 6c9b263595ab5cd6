// The part of the CUDA runtime that the bindings and the launches of kernels call; the device is scheduler.cpp.
#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "engine.h"

namespace {

using wavenet::cuda::simt::shared_allowed;
using wavenet::cuda::simt::shared_limit;

constexpr int kThreads = 2048, kBlocks = 32;                // of a multiprocessor
constexpr size_t kShared = 228 << 10, kReserved = 1 << 10;  // bytes of one, and of them taken by each block
constexpr size_t kSharedWithoutAsking = 48 << 10;

std::mutex lock;
// Kernels that a device has loaded, with the bytes of shared memory that they may have.
std::map<std::pair<int, const void*>, size_t> loaded;
bool capturing = false;
thread_local cudaError_t last_error = cudaSuccess;
thread_local std::string last_message;
thread_local int current_device = 0;

int from_environment(const char* name, int otherwise) {
  const char* value = std::getenv(name);
  return value ? std::atoi(value) : otherwise;
}

// Of each device, so that there are as many of those.
std::vector<int> multiprocessors() {
  const char* value = std::getenv("WAVENET_SIMT_MULTIPROCESSORS");
  std::istringstream list(value ? value : "3");
  std::vector<int> found;
  for (std::string number; std::getline(list, number, ',');) found.push_back(std::stoi(number));
  return found;
}

cudaError_t failed(cudaError_t status, const char* why) {
  wavenet::cuda::simt::record(status, why);
  return status;
}

}  // namespace

namespace wavenet::cuda::simt {

size_t shared_limit() { return size_t(from_environment("WAVENET_SIMT_SHARED_KB", 227)) << 10; }

bool load(const void* kernel) {
  const std::lock_guard<std::mutex> guard(lock);
  if (loaded.count({current_device, kernel})) return true;
  if (capturing) {
    record(cudaErrorStreamCaptureUnsupported, "a kernel would be loaded while a stream is captured");
    return false;
  }
  loaded[{current_device, kernel}] = kSharedWithoutAsking;
  return true;
}

size_t shared_allowed(const void* kernel) {
  const std::lock_guard<std::mutex> guard(lock);
  return std::min(loaded.at({current_device, kernel}), shared_limit());
}

void record(cudaError_t status, const char* message) {
  last_error = status;
  last_message = message;
}

}  // namespace wavenet::cuda::simt

extern "C" {

cudaError_t cudaPeekAtLastError() { return last_error; }

cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }

const char* cudaGetErrorString(cudaError_t error) {
  if (error == cudaSuccess) return "no error";
  return last_message.c_str();
}

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
    case cudaErrorMisalignedAddress:
      return "cudaErrorMisalignedAddress";
    case cudaErrorStreamCaptureUnsupported:
      return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    default:
      return "another error";
  }
}

// Makes a device current; returns the one that was.
[[gnu::visibility("default")]] int wavenet_simt_exchange_device(int device) {
  return std::exchange(current_device, device);
}

// Whether a device has been used: kernels are loaded there.
[[gnu::visibility("default")]] bool wavenet_simt_used(int device) {
  const std::lock_guard<std::mutex> guard(lock);
  const auto first = loaded.lower_bound({device, nullptr});
  return first != loaded.end() && first->first.first == device;
}

// A stream is captured from now on, or no longer.
[[gnu::visibility("default")]] void wavenet_simt_capture(bool begin) { capturing = begin; }

cudaError_t cudaGetDevice(int* device) { return *device = current_device, cudaSuccess; }

cudaError_t cudaGetDeviceCount(int* count) { return *count = int(multiprocessors().size()), cudaSuccess; }

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (device < 0 || device >= int(multiprocessors().size()))
    return failed(cudaErrorInvalidDevice, "there is no such device");
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      return *value = multiprocessors().at(device), cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      return *value = kSharedWithoutAsking, cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      return *value = static_cast<int>(shared_limit()), cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      return *value = static_cast<int>(std::min(kShared, shared_limit() + kReserved)), cudaSuccess;
    case cudaDevAttrReservedSharedMemoryPerBlock:
      return *value = kReserved, cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      return *value = 9, cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      return *value = 0, cudaSuccess;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      return *value = kThreads, cudaSuccess;
    case cudaDevAttrMaxBlocksPerMultiprocessor:
      return *value = kBlocks, cudaSuccess;
    case cudaDevAttrMaxThreadsPerBlock:
      return *value = 1024, cudaSuccess;
    case cudaDevAttrWarpSize:
      return *value = 32, cudaSuccess;
    case cudaDevAttrMaxRegistersPerMultiprocessor:
      return *value = 65536, cudaSuccess;
    default:
      return failed(cudaErrorInvalidValue, "tests/simt/runtime.cpp does not know this attribute of a device");
  }
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* kernel) {
  if (!wavenet::cuda::simt::load(kernel)) return last_error;
  *attributes = cudaFuncAttributes{};
  attributes->binaryVersion = attributes->ptxVersion = 90;
  attributes->maxThreadsPerBlock = 1024;
  attributes->numRegs = 32;
  attributes->maxDynamicSharedSizeBytes = static_cast<int>(shared_allowed(kernel));
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) return cudaSuccess;
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 || size_t(value) > shared_limit()) {
    return failed(cudaErrorInvalidValue, "cudaFuncSetAttribute: more shared memory than a block can have, or an "
                                         "attribute that tests/simt/runtime.cpp does not know");
  }
  if (!wavenet::cuda::simt::load(kernel)) return last_error;
  const std::lock_guard<std::mutex> guard(lock);
  loaded[{current_device, kernel}] = std::max<size_t>(value, kSharedWithoutAsking);
  return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void* kernel, int threads,
                                                                   size_t shared_bytes, unsigned) {
  if (!wavenet::cuda::simt::load(kernel)) return last_error;
  const size_t shared = std::min(kShared, shared_limit() + kReserved);
  const int by_shared = static_cast<int>(shared / (shared_bytes + kReserved));
  *blocks = shared_bytes > shared_allowed(kernel) ? 0 : std::min({kBlocks, kThreads / threads, by_shared});
  return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void* kernel, int threads,
                                                          size_t shared_bytes) {
  return cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, kernel, threads, shared_bytes, 0);
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t) {
  return std::memset(to, value, bytes), cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  return std::memcpy(to, from, bytes), cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }

cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }

}  // extern "C"
