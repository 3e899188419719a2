# cuda.cmake - the CUDA backend, engine/cuda.
#
# SPPO_CUDA=ON: nvcc and NVIDIA's libraries. EMULATED: the very same sources, compiled for the CPU and
# linked with the fakes of tests/cuda/emu; of the toolkit only its headers are needed. CUDA_BACKEND is
# set to the objects, CUDA_LIBRARIES to what they link with. core/device.c alone sees SPPO_CUDA.

set(CUDA_SOURCES engine/cuda/device.c engine/cuda/table.c engine/cuda/segments.c
    engine/cuda/gemm.c engine/cuda/later.c engine/cuda/graph.c engine/cuda/attention_layout.c
    engine/cuda/attention_cudnn.c)
set(CUDA_KERNELS engine/cuda/elementwise.cu engine/cuda/matmul.cu engine/cuda/few_rows.cu engine/cuda/norm.cu
    engine/cuda/rope.cu engine/cuda/embed.cu engine/cuda/index.cu engine/cuda/reduce.cu
    engine/cuda/softmax.cu engine/cuda/cast.cu engine/cuda/optim.cu
    engine/cuda/attention.cu engine/cuda/attention_backward.cu engine/cuda/attention_parts.cu
    engine/cuda/loss.cu engine/cuda/sample.cu engine/cuda/disentangled_attention.cu)
# libcudnn is looked for at run time: building needs its headers alone.
find_path(CUDNN_HEADERS cudnn_graph.h HINTS ${CUDA_HEADERS} ${CUDAToolkit_ROOT} ENV CUDA_HOME
          PATHS /usr/local/cuda PATH_SUFFIXES include)
if(CUDNN_HEADERS)
  set(CUDNN_SOURCES engine/cuda/cudnn_library.c engine/cuda/cudnn_graph.c engine/cuda/cudnn_sdpa.c
      engine/cuda/cudnn_support.c engine/cuda/cudnn_plan.c)
else()
  set(CUDNN_SOURCES engine/cuda/cudnn_missing.c)
  message(STATUS "cudnn_graph.h was not found (CUDA_HOME): attention is our own kernel's alone")
endif()
list(APPEND CUDA_SOURCES ${CUDNN_SOURCES})
set_source_files_properties(engine/core/device.c PROPERTIES COMPILE_DEFINITIONS SPPO_CUDA=1)

if(SPPO_CUDA STREQUAL "EMULATED")
  enable_language(CXX)
  set(CMAKE_CXX_STANDARD 17)
  set(CMAKE_CXX_VISIBILITY_PRESET hidden)
  set(CMAKE_CXX_FLAGS_RELEASE ${CMAKE_C_FLAGS_RELEASE})
  find_path(CUDA_HEADERS cublas_v2.h HINTS ${CUDAToolkit_ROOT} ENV CUDA_HOME
            PATHS /usr/local/cuda PATH_SUFFIXES include)
  if(NOT CUDA_HEADERS)
    message(FATAL_ERROR "SPPO_CUDA=EMULATED needs the headers of the CUDA toolkit; "
                        "set CUDA_HOME or -DCUDA_HEADERS=FOLDER")
  endif()
  set(EMU tests/cuda/emu)
  set_source_files_properties(${CUDA_KERNELS} ${EMU}/faults.cu PROPERTIES LANGUAGE CXX
    COMPILE_OPTIONS "-include;${CMAKE_SOURCE_DIR}/${EMU}/emu.h")
  add_library(cuda_emu OBJECT ${EMU}/fiber.cpp ${EMU}/block.cpp ${EMU}/runtime.cpp ${EMU}/blas.cpp)
  if(CUDNN_HEADERS)
    target_sources(cuda_emu PRIVATE ${EMU}/cudnn.cpp ${EMU}/cudnn_checks.cpp
                   ${EMU}/cudnn_interpreter.cpp)
    target_include_directories(cuda_emu SYSTEM PRIVATE ${CUDNN_HEADERS})
    add_executable(cuda_graphs tests/cuda/cudnn_test.c ${CUDNN_SOURCES} engine/core/error.c
                   $<TARGET_OBJECTS:cuda_emu>)
    set_target_properties(cuda_graphs PROPERTIES ENABLE_EXPORTS ON)
    target_link_libraries(cuda_graphs PRIVATE stdc++ m ${CMAKE_DL_LIBS})
    target_include_directories(cuda_graphs SYSTEM PRIVATE ${CUDA_HEADERS} ${CUDNN_HEADERS})
  endif()
  add_library(cuda_backend OBJECT ${CUDA_SOURCES} ${CUDA_KERNELS})
  add_executable(cuda_faults ${EMU}/faults.cu $<TARGET_OBJECTS:cuda_emu>)
  set(MODE EMU_POISON)
  if(SPPO_ASAN)
    set(MODE EMU_ADDRESS)
  elseif(SPPO_TSAN)
    set(MODE EMU_THREAD)
    set_source_files_properties(${EMU}/fiber.cpp ${EMU}/block.cpp ${EMU}/cudnn_interpreter.cpp
                                PROPERTIES COMPILE_OPTIONS -fno-sanitize=thread)
  endif()
  foreach(target cuda_emu cuda_backend cuda_faults)
    target_include_directories(${target} SYSTEM PRIVATE ${CUDA_HEADERS})
    target_compile_definitions(${target} PRIVATE ${MODE}=1)
  endforeach()
  set(CUDA_BACKEND $<TARGET_OBJECTS:cuda_backend> $<TARGET_OBJECTS:cuda_emu>)
  set(CUDA_LIBRARIES stdc++ ${CMAKE_DL_LIBS})
elseif(SPPO_CUDA STREQUAL "ON")
  if(SPPO_ASAN OR SPPO_TSAN)
    message(FATAL_ERROR "sanitizers do not go with SPPO_CUDA=ON; use SPPO_CUDA=EMULATED")
  endif()
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80 90 100)
  endif()
  enable_language(CUDA)
  set(CMAKE_CUDA_STANDARD 17)
  find_package(CUDAToolkit REQUIRED)
  add_library(cuda_backend OBJECT ${CUDA_SOURCES} ${CUDA_KERNELS})
  target_compile_options(cuda_backend PRIVATE
    "$<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings;-Xcompiler=-Wall,-Wextra>")
  target_link_libraries(cuda_backend PRIVATE CUDA::cudart CUDA::cublas)
  set(CUDA_BACKEND $<TARGET_OBJECTS:cuda_backend>)
  set(CUDA_LIBRARIES CUDA::cudart CUDA::cublas stdc++ ${CMAKE_DL_LIBS})
else()
  message(FATAL_ERROR "SPPO_CUDA is '${SPPO_CUDA}', it must be OFF, ON or EMULATED")
endif()
if(CUDNN_HEADERS)
  target_include_directories(cuda_backend SYSTEM PRIVATE ${CUDNN_HEADERS})
endif()
