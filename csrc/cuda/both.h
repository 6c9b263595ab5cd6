// Functions for the host and for kernels.
#pragma once

#ifdef __CUDACC__
#define WAVENET_BOTH __host__ __device__
#else
#define WAVENET_BOTH
#endif
