#include "cuda/load.h"

#include <cuda_runtime_api.h>

#include <mutex>
#include <set>
#include <tuple>

#include "cuda/errors.h"
#include "cuda/kernels.h"
#include "cuda/layers.h"
#include "cuda/packing.h"
#include "cuda/stream.h"
#include "cuda/types.h"
#include "cuda/weight_gradient.h"

namespace wavenet::cuda {

namespace {

template <class T>
void load_all(KernelsOf which) {
  if (which == KernelsOf::gate) return load_gated_activation<T>();
  load_pack<T>();
  if (which == KernelsOf::forward) return load_layers<T>();
  if (which == KernelsOf::stream) return load_stream<T>();
  load_gate_gradient<T>(), load_data_gradient<T>(), load_weight_gradient<T>(), load_sums<T>();
  if constexpr (sizeof(T) == 2) load_fused_backward<T>(), load_wide_weight_gradient<T>();
}

}  // namespace

void load(KernelsOf which, DType dtype) {
  static std::mutex mutex;
  static std::set<std::tuple<int, KernelsOf, DType>> done;
  int device = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  const std::lock_guard<std::mutex> lock(mutex);
  if (done.count({device, which, dtype})) return;
  with_type(dtype, "load", [&](auto type) { load_all<decltype(type)>(which); });
  done.insert({device, which, dtype});
}

}  // namespace wavenet::cuda
