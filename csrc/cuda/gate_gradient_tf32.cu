#include "cuda/gate_gradient.cuh"

namespace wavenet::cuda {

template void run_gate_gradient<float>(const GateGradientArguments&, const char*, cudaStream_t);

}  // namespace wavenet::cuda
