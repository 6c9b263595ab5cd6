# The CPU kernels: one source compiled once for each instruction set, chosen among when they run.

set(WAVENET_KERNELS_SANITIZE "" CACHE STRING "Sanitizers for the CPU kernels, as in -fsanitize=")

set(WAVENET_CPU_DRIVERS
    csrc/cpu/run.cpp csrc/cpu/run_backward.cpp csrc/cpu/stream.cpp csrc/cpu/sampler.cpp csrc/cpu/memory.cpp csrc/cpu/threads.cpp
    csrc/cpu/pass.cpp)
add_library(wavenet_cpu STATIC ${WAVENET_CPU_DRIVERS} csrc/cpu/dispatch.cpp csrc/cpu/amx_permission.cpp csrc/cpu/quantized.cpp
            csrc/cpu/quantized_stream.cpp)
target_include_directories(wavenet_cpu PUBLIC csrc)
target_compile_options(wavenet_cpu PRIVATE -Wall -Wextra)

include("${CMAKE_CURRENT_LIST_DIR}/isas.cmake")
# For tests: the kernels that multiply bfloat16, in portable code, where no processor at hand has such instructions.
set(WAVENET_KERNELS_EMULATE_BFLOAT16 OFF CACHE STRING "Portable kernels only, which multiply bfloat16: ON, or amx in tiles")
if(WAVENET_KERNELS_EMULATE_BFLOAT16)
  set(WAVENET_CPU_ISAS portable)
  set(WAVENET_BFLOAT16_OF_portable portablebf16)
  if(WAVENET_KERNELS_EMULATE_BFLOAT16 STREQUAL amx)
    list(APPEND WAVENET_BFLOAT16_OF_portable portableamx)
    set(WAVENET_FLAGS_portableamx -Wno-psabi -include "${CMAKE_CURRENT_LIST_DIR}/../tests/native/emulated_amx.h")
  endif()
endif()
set(kernels "")
foreach(isa IN LISTS WAVENET_CPU_ISAS)
  wavenet_add_kernels(wavenet_cpu ${isa} kernels REALS float double bfloat16)
endforeach()

# libgomp by its plain name libgomp.so.1: PyTorch ships a library of that name, and once torch is
# imported the loader gives us the same one, so that there is a single pool of threads.
find_package(OpenMP COMPONENTS CXX)
if(OpenMP_CXX_FOUND)
  target_link_libraries(wavenet_cpu PUBLIC OpenMP::OpenMP_CXX)
else()
  message(STATUS "wavenet-kernels: no OpenMP, the CPU kernels will use one thread")
endif()

if(WAVENET_KERNELS_SANITIZE)
  wavenet_sanitize("${WAVENET_KERNELS_SANITIZE}" wavenet_cpu ${kernels})
  if(WAVENET_KERNELS_SANITIZE MATCHES thread)
    find_package(Threads REQUIRED)
    target_compile_definitions(wavenet_cpu PUBLIC WAVENET_STD_THREADS=1)
    target_link_libraries(wavenet_cpu PUBLIC Threads::Threads)
  endif()
endif()
