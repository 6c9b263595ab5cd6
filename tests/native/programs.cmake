# Programs that are tests, or that others look into, of the compiled sources: built when they are asked for.

add_executable(cpu_kernels_test EXCLUDE_FROM_ALL "${CMAKE_CURRENT_LIST_DIR}/cpu_kernels_test.cpp")
target_link_libraries(cpu_kernels_test PRIVATE wavenet_cpu)

# The kernels of one instruction set; it compiles what it needs and no more.
set(WAVENET_KERNELS_COUNT_ISA "avx2" CACHE STRING "Instruction set of cpu_kernels_count")
if(WAVENET_KERNELS_COUNT_ISA IN_LIST WAVENET_CPU_ISAS)
  add_executable(cpu_kernels_count EXCLUDE_FROM_ALL "${CMAKE_CURRENT_LIST_DIR}/cpu_kernels_count.cpp"
      ${WAVENET_CPU_DRIVERS} $<TARGET_OBJECTS:wavenet_cpu_${WAVENET_KERNELS_COUNT_ISA}_float>)
  target_include_directories(cpu_kernels_count PRIVATE csrc)
  target_compile_options(cpu_kernels_count PRIVATE -Wall -Wextra)
  target_compile_definitions(cpu_kernels_count PRIVATE WAVENET_ISA=${WAVENET_KERNELS_COUNT_ISA})
  if(OpenMP_CXX_FOUND)
    target_link_libraries(cpu_kernels_count PRIVATE OpenMP::OpenMP_CXX)
  endif()
endif()
