// Which instance of a kernel serves a launch on tiles.
#pragma once

#include <iterator>
#include <stdexcept>
#include <string>

#include "cuda/launch.h"
#include "cuda/product.cuh"
#include "cuda/tile_launch.h"

namespace wavenet::cuda {

// Whether kernels of type T are compiled for such tiles: of tall ones in float32 the registers are not enough.
template <class T>
constexpr bool serves(TileSize size) {
  return size.M <= kTall || sizeof(T) == 2;
}

// Calls f with the Shape of type T that has the launch's M and N.
template <class T, size_t I = 0, class F>
void with_shape(const TileLaunch& tiled, const char* name, F&& f) {
  if constexpr (I == std::size(kTileSizes)) {
    throw std::invalid_argument(std::string(name) + ": no instance for tiles of " + std::to_string(tiled.size.M) +
                                " x " + std::to_string(tiled.size.N));
  } else {
    if constexpr (serves<T>(kTileSizes[I])) {
      using S = Shape<T, kTileSizes[I].M, kTileSizes[I].N>;
      if (tiled.size.M == S::M && tiled.size.N == S::N) return f(S{});
    }
    with_shape<T, I + 1>(tiled, name, f);
  }
}

// Loads all of them. kernel_of(shape) is the kernel of that Shape.
template <class T, size_t I = 0, class F>
void load_shapes(const char* name, F&& kernel_of) {
  if constexpr (I < std::size(kTileSizes)) {
    if constexpr (serves<T>(kTileSizes[I])) load_kernel(name, kernel_of(Shape<T, kTileSizes[I].M, kTileSizes[I].N>{}));
    load_shapes<T, I + 1>(name, kernel_of);
  }
}

template <class Arguments>
void launch_tiles(void (*kernel)(Arguments), const Arguments& arguments, const char* name, cudaStream_t stream) {
  const TileLaunch& tiled = arguments.tiled;
  launch(name, kernel, dim3(tiled.blocks), dim3(threads_of(tiled.size)), tiled.shared_bytes, stream, arguments);
}

}  // namespace wavenet::cuda
