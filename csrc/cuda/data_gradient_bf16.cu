#include "cuda/data_gradient.cuh"

namespace wavenet::cuda {

template void run_data_gradient<__nv_bfloat16>(const DataGradientArguments&, const char*, cudaStream_t);

}  // namespace wavenet::cuda
