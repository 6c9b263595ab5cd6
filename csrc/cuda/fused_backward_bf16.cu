#include "cuda/fused_backward.cuh"

namespace wavenet::cuda {

template void run_fused_backward<__nv_bfloat16>(const FusedBackwardArguments&, const char*, cudaStream_t);

}  // namespace wavenet::cuda
