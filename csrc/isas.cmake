# The instruction sets that the CPU kernels are compiled for, and how: lists, and functions that make the objects.
# Products of int8 (WAVENET_INT8_OF_isa) and of bfloat16 (WAVENET_BFLOAT16_OF_isa) have variants of a set, with
# instructions of their own, where the compiler knows them.
include(CheckCXXSourceCompiles)

# Whether compiler and assembler know `flag`, by which an intrinsic `of` vectors of so many bits has become an
# instruction: g++ knows AVX512-VNNI from version 8 on, AVX-VNNI from 11 on.
function(wavenet_check_dot_product result flag of bits)
  set(CMAKE_REQUIRED_FLAGS "${flag}")
  check_cxx_source_compiles("
      #include <immintrin.h>
      int main(int count, char**) {
        __m${bits}i sums = _mm${bits}_set1_epi32(count);
        sums = ${of}(sums, sums, sums);
        return *reinterpret_cast<int*>(&sums);
      }" ${result})
endfunction()

set(WAVENET_CPU_ISAS portable)
set(WAVENET_FLAGS_portable "")
set(WAVENET_INT8_OF_portable portable)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  list(APPEND WAVENET_CPU_ISAS avx2 avx512)
  set(WAVENET_FLAGS_avx2 -mavx2 -mfma)
  set(WAVENET_FLAGS_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma)
  set(WAVENET_INT8_OF_avx2 avx2)
  set(WAVENET_INT8_OF_avx512 avx512)
  set(WAVENET_FLAGS_avx512vnni ${WAVENET_FLAGS_avx512} -mavx512vnni)
  set(WAVENET_FLAGS_avxvnni ${WAVENET_FLAGS_avx2} -mavxvnni)
  wavenet_check_dot_product(WAVENET_KNOWS_AVX512VNNI "-mavx512f -mavx512vnni" _mm512_dpbusd_epi32 512)
  if(WAVENET_KNOWS_AVX512VNNI)
    list(APPEND WAVENET_INT8_OF_avx512 avx512vnni)
  endif()
  set(WAVENET_FLAGS_avx512bf16 ${WAVENET_FLAGS_avx512} -mavx512bf16)
  set(CMAKE_REQUIRED_FLAGS "-mavx512f -mavx512bf16")
  check_cxx_source_compiles("
      #include <immintrin.h>
      int main(int count, char**) {
        const __m512 sums = _mm512_set1_ps(count);
        const __m512bh factors = _mm512_cvtne2ps_pbh(sums, sums);
        return static_cast<int>(_mm512_cvtss_f32(_mm512_dpbf16_ps(sums, factors, factors)));
      }" WAVENET_KNOWS_AVX512BF16)
  unset(CMAKE_REQUIRED_FLAGS)
  set(WAVENET_FLAGS_amx ${WAVENET_FLAGS_avx512bf16} -mamx-tile -mamx-bf16 -DWAVENET_TILES=1 -fno-exceptions)
  set(CMAKE_REQUIRED_FLAGS "-mamx-tile -mamx-bf16")
  check_cxx_source_compiles("
      #include <immintrin.h>
      int main() {
        _tile_dpbf16ps(0, 1, 2);
      }" WAVENET_KNOWS_AMX)
  unset(CMAKE_REQUIRED_FLAGS)
  if(WAVENET_KNOWS_AVX512BF16)
    set(WAVENET_BFLOAT16_OF_avx512 avx512bf16)
    if(WAVENET_KNOWS_AMX)
      list(APPEND WAVENET_BFLOAT16_OF_avx512 amx)
    endif()
  endif()
  wavenet_check_dot_product(WAVENET_KNOWS_AVXVNNI "-mavx2 -mavxvnni" _mm256_dpbusd_avx_epi32 256)
  if(WAVENET_KNOWS_AVXVNNI)
    list(APPEND WAVENET_INT8_OF_avx2 avxvnni)
  endif()
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
  set(WAVENET_CPU_ISAS neon)  # every such processor has it, with fused multiplication and addition
  set(WAVENET_FLAGS_neon "")
  set(WAVENET_INT8_OF_neon neon dotprod)
  set(WAVENET_FLAGS_dotprod -march=armv8.2-a+dotprod)
endif()

# Objects `target` of one source for one instruction set.
function(wavenet_objects_of target source isa real)
  add_library(${target} OBJECT "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/cpu/${source}")
  target_include_directories(${target} PRIVATE "${CMAKE_CURRENT_FUNCTION_LIST_DIR}")
  # Multiply and add contract into one instruction everywhere alike, so that a row comes out the same
  # whichever of the kernel's variants computed it.
  target_compile_options(${target} PRIVATE
      -Wall -Wextra -ffp-contract=fast -fno-math-errno ${WAVENET_FLAGS_${isa}})
  target_compile_definitions(${target} PRIVATE WAVENET_ISA=${isa} WAVENET_REAL=${real})
endfunction()

# Adds to `library` the kernels of one instruction set in the given types (bfloat16: where it has instructions for that),
# and in int8; their names are appended to `result`. Further definitions are those of the kernels.
function(wavenet_add_kernels library isa result)
  cmake_parse_arguments(PARSE_ARGV 3 of "" "" "REALS;DEFINITIONS")
  set(made "")
  foreach(real IN LISTS of_REALS)
    if(NOT real STREQUAL bfloat16)
      wavenet_objects_of(${library}_${isa}_${real} isa.cpp ${isa} ${real})
      list(APPEND made ${library}_${isa}_${real})
      continue()
    endif()
    foreach(variant IN LISTS WAVENET_BFLOAT16_OF_${isa})
      wavenet_objects_of(${library}_${variant}_float isa.cpp ${variant} float)
      target_compile_definitions(${library}_${variant}_float PRIVATE WAVENET_PAIRS=1)
      list(APPEND made ${library}_${variant}_float)
      string(TOUPPER ${variant} upper)
      target_compile_definitions(${library} PRIVATE WAVENET_HAVE_${upper}=1)
    endforeach()
  endforeach()
  foreach(variant IN LISTS WAVENET_INT8_OF_${isa})
    wavenet_objects_of(${library}_${variant}_int8 quantized_kernels.cpp ${variant} float)
    # Loops for whole vectors and for parts of them, side by side, are 4 kB more for nothing.
    target_compile_options(${library}_${variant}_int8 PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fno-unswitch-loops>)
    list(APPEND made ${library}_${variant}_int8)
    string(TOUPPER ${variant} upper)
    target_compile_definitions(${library} PRIVATE WAVENET_HAVE_${upper}=1)
  endforeach()
  foreach(target IN LISTS made)
    target_compile_definitions(${target} PRIVATE ${of_DEFINITIONS})
    target_sources(${library} PRIVATE $<TARGET_OBJECTS:${target}>)
  endforeach()
  set(${result} ${${result}} ${made} PARENT_SCOPE)
endfunction()
