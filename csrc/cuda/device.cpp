#include "cuda/device.h"

#include <cuda_runtime_api.h>

#include <stdexcept>

#include "cuda/errors.h"

namespace wavenet::cuda {

namespace {

struct Architecture {
  int capability;
  Device typical;
};

// Shared memory is from the table of compute capabilities in CUDA's programming guide; multiprocessors and rates are
// what the data sheet of the chip gives, over its clock. Blackwell's faster products are other instructions than mma.
constexpr int kKiB = 1024;
constexpr Architecture kArchitectures[] = {
    {80, {false, 108, 163 * kKiB, 164 * kKiB, 1 * kKiB, 1024, 13}},   // A100, 80 GB
    {86, {false, 84, 99 * kKiB, 100 * kKiB, 1 * kKiB, 512, 5}},       // RTX A6000
    {89, {false, 142, 99 * kKiB, 100 * kKiB, 1 * kKiB, 512, 2.5}},    // L40S
    {90, {false, 132, 227 * kKiB, 228 * kKiB, 1 * kKiB, 2048, 15}},   // H100
    {100, {false, 148, 227 * kKiB, 228 * kKiB, 1 * kKiB, 2048, 29}},  // B200
    {120, {false, 188, 99 * kKiB, 100 * kKiB, 1 * kKiB, 512, 3.7}},   // RTX PRO 6000
};

// The newest one that is not newer than the capability, or else the oldest.
const Architecture& architecture_of(int capability) {
  const Architecture* found = kArchitectures;
  for (const Architecture& architecture : kArchitectures)
    if (architecture.capability <= capability) found = &architecture;
  return *found;
}

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, device), "cudaDeviceGetAttribute");
  return value;
}

}  // namespace

Device device_at(int index) {
  const int capability = 10 * attribute(cudaDevAttrComputeCapabilityMajor, index) +
                         attribute(cudaDevAttrComputeCapabilityMinor, index);
  Device device = architecture_of(capability).typical;
  device.here = true;
  device.multiprocessors = attribute(cudaDevAttrMultiProcessorCount, index);
  device.shared_bytes = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, index);
  device.shared_bytes_all = attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor, index);
  device.shared_bytes_reserved = attribute(cudaDevAttrReservedSharedMemoryPerBlock, index);
  return device;
}

Device typical_device(const std::string& architecture) {
  std::string known;
  for (const Architecture& one : kArchitectures) {
    const std::string name = "sm_" + std::to_string(one.capability);
    if (architecture == name) return one.typical;
    known += " " + name;
  }
  throw std::invalid_argument("architecture is '" + architecture + "'; known are" + known);
}

}  // namespace wavenet::cuda
