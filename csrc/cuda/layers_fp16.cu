#include "cuda/layers.cuh"

namespace wavenet::cuda {

template void run_layers<__half>(const LayersArguments&, const char*, cudaStream_t);

}  // namespace wavenet::cuda
