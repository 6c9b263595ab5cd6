#include "cuda/weight_gradient.cuh"

namespace wavenet::cuda {

template void run_weight_gradient<float>(const WeightGradientArguments&, const char*, cudaStream_t);

}  // namespace wavenet::cuda
