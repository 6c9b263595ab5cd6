#include "cuda/stream.cuh"

namespace wavenet::cuda {

template void run_stream<__nv_bfloat16>(const StreamArguments&, const char*, cudaStream_t);

}  // namespace wavenet::cuda
