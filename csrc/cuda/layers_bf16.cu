#include "cuda/layers.cuh"

namespace wavenet::cuda {

template void run_layers<__nv_bfloat16>(const LayersArguments&, const char*, cudaStream_t);

}  // namespace wavenet::cuda
