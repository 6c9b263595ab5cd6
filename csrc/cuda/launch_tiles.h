// Which instance of a kernel serves a launch on tiles.
#pragma once

#include <stdexcept>
#include <string>

#include "cuda/launch.h"
#include "cuda/layers.h"
#include "cuda/product.cuh"

namespace wavenet::cuda {

// Calls f with the Shape of type T that has the launch's M and N: those of plan.cpp.
template <class T, class F>
void with_shape(const TileLaunch& on, const char* name, F&& f) {
  if (on.M == 128 && on.N == 32) return f(Shape<T, 128, 32>{});
  if (on.M == 128 && on.N == 64) return f(Shape<T, 128, 64>{});
  if (on.M == 128 && on.N == 128) return f(Shape<T, 128, 128>{});
  if (on.M == 64 && on.N == 128) return f(Shape<T, 64, 128>{});
  if (on.M == 32 && on.N == 128) return f(Shape<T, 32, 128>{});
  throw std::invalid_argument(std::string(name) + ": no instance for tiles of " + std::to_string(on.M) + " x " +
                              std::to_string(on.N));
}

template <class Arguments>
void launch_tiles(void (*kernel)(Arguments), const Arguments& arguments, const char* name, cudaStream_t stream) {
  const TileLaunch& on = arguments.on;
  launch_with_shared(name, kernel, dim3(on.blocks), dim3(kThreads), on.shared_bytes, stream, arguments);
}

}  // namespace wavenet::cuda
