# Writes the sources that make an instance of a kernel for a dtype: each a file of its own, so that builds run in
# parallel. As a script, which is how the simulator's build runs it, it names them on stderr:
#
#   cmake -DWAVENET_INSTANCES_DIR=FOLDER -P csrc/cuda/instances.cmake
cmake_minimum_required(VERSION 3.20)

# Writes FOLDER/KERNEL_DTYPE.cu where it isn't there or differs; `result` receives their paths.
function(wavenet_cuda_instances folder result)
  set(type_bf16 __nv_bfloat16)
  set(type_fp16 __half)
  set(type_tf32 float)
  set(arguments_layers LayersArguments)
  set(arguments_gate_gradient GateGradientArguments)
  set(arguments_data_gradient DataGradientArguments)
  set(arguments_weight_gradient WeightGradientArguments)
  set(arguments_fused_backward FusedBackwardArguments)
  set(arguments_wide_weight_gradient WideWeightGradientArguments)
  set(arguments_stream StreamArguments)

  set(sources "")
  foreach(kernel layers gate_gradient data_gradient weight_gradient wide_weight_gradient fused_backward stream)
    set(dtypes bf16 fp16 tf32)
    if(kernel MATCHES "^(fused_backward|wide_weight_gradient)$")
      set(dtypes bf16 fp16)  # plan.cpp leaves float32 to the others
    endif()
    foreach(dtype IN LISTS dtypes)
      set(type ${type_${dtype}})
      set(arguments ${arguments_${kernel}})
      set(source "${folder}/${kernel}_${dtype}.cu")
      configure_file("${CMAKE_CURRENT_FUNCTION_LIST_DIR}/instance.cu.in" "${source}" @ONLY)
      list(APPEND sources "${source}")
    endforeach()
  endforeach()
  set(${result} "${sources}" PARENT_SCOPE)
endfunction()

if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
  if(NOT WAVENET_INSTANCES_DIR)
    message(FATAL_ERROR "WAVENET_INSTANCES_DIR is missing: the folder that receives the sources")
  endif()
  wavenet_cuda_instances("${WAVENET_INSTANCES_DIR}" sources)
  foreach(source IN LISTS sources)
    message(NOTICE "${source}")
  endforeach()
endif()
