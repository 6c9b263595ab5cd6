# The instruction sets that the CPU kernels are compiled for, and how: a list, and a function that makes the objects.

set(WAVENET_CPU_ISAS portable)
set(WAVENET_FLAGS_portable "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  list(APPEND WAVENET_CPU_ISAS avx2 avx512)
  set(WAVENET_FLAGS_avx2 -mavx2 -mfma)
  set(WAVENET_FLAGS_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
  set(WAVENET_CPU_ISAS neon)  # every such processor has it, with fused multiplication and addition
  set(WAVENET_FLAGS_neon "")
endif()

# Objects `target` of the kernels of one instruction set, in float or double.
function(wavenet_kernels_of isa real target)
  add_library(${target} OBJECT "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/cpu/isa.cpp")
  target_include_directories(${target} PRIVATE "${CMAKE_CURRENT_FUNCTION_LIST_DIR}")
  # Multiply and add contract into one instruction everywhere alike, so that a row comes out the same
  # whichever of the kernel's variants computed it.
  target_compile_options(${target} PRIVATE
      -Wall -Wextra -ffp-contract=fast -fno-math-errno ${WAVENET_FLAGS_${isa}})
  target_compile_definitions(${target} PRIVATE WAVENET_ISA=${isa} WAVENET_REAL=${real})
endfunction()
