# How everything is compiled that is built of these sources, and under which sanitizers; after project().

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Debug, Release or RelWithDebInfo" FORCE)
endif()
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_FLAGS_RELEASE "-O3 -DNDEBUG")
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
# Hidden symbols keep two libraries in one process out of each other's way.
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)

# `library` and its objects (further arguments) under sanitizers, as in -fsanitize=.
function(wavenet_sanitize sanitizers library)
  foreach(target ${library} ${ARGN})
    target_compile_options(${target} PRIVATE -fsanitize=${sanitizers}
                           -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
    target_compile_definitions(${target} PRIVATE WAVENET_POISON=1)
  endforeach()
  target_link_options(${library} PUBLIC -fsanitize=${sanitizers})
endfunction()
