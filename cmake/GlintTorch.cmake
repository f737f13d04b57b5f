# Finds libtorch and defines the imported target glint::torch (headers, libtorch_cpu, libc10).
#
# TorchConfig.cmake is not used: the one in the PyPI wheel refuses to configure without a CUDA toolkit, although
# libtorch_cpu itself needs only the CUDA runtime and CUPTI libraries. This file is installed beside
# glintConfig.cmake, so that programs which use an installed glint find libtorch in the same way.
#
# Looked at, in order:
#   1. Torch_DIR (.../share/cmake/Torch), then CMAKE_PREFIX_PATH: what the user gave
#   2. GLINT_TORCH_ROOT: the folder with include/ and lib/, as a CMake or an environment variable
#   3. GLINT_TORCH_BUILT_WITH: set by glintConfig.cmake to the libtorch that glint was built with
#   4. the torch of the first python3 in PATH
# Sets GLINT_TORCH_LIB_DIR and GLINT_TORCH_VERSION.

if(TARGET glint::torch)
  return()
endif()

set(_glint_torch_header include/ATen/core/Tensor.h)
set(_glint_torch_tried "")

# Sets <variable> to the version in the headers below root, or to nothing.
function(_glint_torch_read_version root variable)
  set(${variable} "" PARENT_SCOPE)
  foreach(header include/torch/headeronly/version.h include/torch/csrc/api/include/torch/version.h)
    if(EXISTS "${root}/${header}")
      file(READ "${root}/${header}" text)
      if(text MATCHES "define TORCH_VERSION[ \\\n]+\"([0-9.]+)")
        set(${variable} "${CMAKE_MATCH_1}" PARENT_SCOPE)
        return()
      endif()
    endif()
  endforeach()
endfunction()

# Takes root as libtorch unless one is taken already; keeps the reason when it cannot be used.
function(_glint_torch_accept root origin)
  if(_glint_torch_root OR NOT root)
    return()
  endif()
  get_filename_component(root "${root}" ABSOLUTE)
  _glint_torch_read_version("${root}" version)
  if(NOT EXISTS "${root}/${_glint_torch_header}")
    set(reason "no ${_glint_torch_header} in ${root}")
  elseif(version VERSION_LESS 2.11)
    set(reason "${root} is version ${version}")
  elseif(NOT EXISTS "${root}/lib/libtorch_cpu.so" OR NOT EXISTS "${root}/lib/libc10.so")
    set(reason "no libtorch_cpu.so or no libc10.so in ${root}/lib")
  else()
    set(_glint_torch_root "${root}" PARENT_SCOPE)
    set(_glint_torch_origin "${origin}" PARENT_SCOPE)
    set(GLINT_TORCH_VERSION "${version}" PARENT_SCOPE)
    return()
  endif()
  set(_glint_torch_tried "${_glint_torch_tried}\n  ${origin}: ${reason}" PARENT_SCOPE)
endfunction()

set(_glint_torch_root "")
if(Torch_DIR)
  _glint_torch_accept("${Torch_DIR}/../../.." "Torch_DIR")
endif()
foreach(_prefix IN LISTS CMAKE_PREFIX_PATH)
  # Both a libtorch folder and a .../share/cmake folder, as torch.utils.cmake_prefix_path prints it.
  if(EXISTS "${_prefix}/${_glint_torch_header}")
    _glint_torch_accept("${_prefix}" "CMAKE_PREFIX_PATH")
  elseif(EXISTS "${_prefix}/../../${_glint_torch_header}")
    _glint_torch_accept("${_prefix}/../.." "CMAKE_PREFIX_PATH")
  endif()
endforeach()
_glint_torch_accept("${GLINT_TORCH_ROOT}" "GLINT_TORCH_ROOT")
_glint_torch_accept("$ENV{GLINT_TORCH_ROOT}" "environment variable GLINT_TORCH_ROOT")
# What the user named must be usable; only without any such wish is another one looked for.
if(NOT _glint_torch_tried AND EXISTS "${GLINT_TORCH_BUILT_WITH}")
  _glint_torch_accept("${GLINT_TORCH_BUILT_WITH}" "the libtorch glint was built with")
endif()
if(NOT _glint_torch_root AND NOT _glint_torch_tried)
  # find_spec locates the package without importing it, which would take seconds.
  execute_process(
    COMMAND python3 -c "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
    OUTPUT_VARIABLE _glint_python_torch OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  _glint_torch_accept("${_glint_python_torch}" "python3's torch package")
endif()

if(NOT _glint_torch_root)
  set(_glint_torch_message "glint needs libtorch 2.11 or newer, and found none.${_glint_torch_tried}
Do one of:
  run ./glint, which downloads libtorch once and configures with it;
  pass -DTorch_DIR=<libtorch>/share/cmake/Torch or -DGLINT_TORCH_ROOT=<libtorch>, where <libtorch> holds include/ and lib/;
  put a python3 with torch installed first in PATH (a virtual environment with `pip install torch==2.11.0`).")
  if(CMAKE_FIND_PACKAGE_NAME)
    set(${CMAKE_FIND_PACKAGE_NAME}_FOUND FALSE)
    set(${CMAKE_FIND_PACKAGE_NAME}_NOT_FOUND_MESSAGE "${_glint_torch_message}")
    return()
  endif()
  message(FATAL_ERROR "${_glint_torch_message}")
endif()

set(GLINT_TORCH_LIB_DIR "${_glint_torch_root}/lib" CACHE INTERNAL "libtorch's libraries")
foreach(_lib torch_cpu c10)
  add_library(glint::${_lib} SHARED IMPORTED)
  set_target_properties(glint::${_lib} PROPERTIES IMPORTED_LOCATION "${GLINT_TORCH_LIB_DIR}/lib${_lib}.so")
endforeach()

# libtorch_cpu of the CUDA wheel needs libcudart and libcupti. It finds them at run time through its own RPATH when
# the wheels lie side by side; the linker has to be told. A CPU-only libtorch has neither, and nothing is added.
set(_glint_torch_runtime_dirs "")
file(GLOB _runtime_dirs LIST_DIRECTORIES true "${_glint_torch_root}/../nvidia/*/lib")
foreach(_dir IN LISTS _runtime_dirs)
  file(GLOB _needed "${_dir}/libcudart.so.*" "${_dir}/libcupti.so.*")
  if(_needed)
    get_filename_component(_dir "${_dir}" ABSOLUTE)
    list(APPEND _glint_torch_runtime_dirs "${_dir}")
  endif()
endforeach()

add_library(glint::torch INTERFACE IMPORTED)
target_link_libraries(glint::torch INTERFACE glint::torch_cpu glint::c10)
if(GLINT_CUDA)
  foreach(_lib torch_cuda c10_cuda)
    add_library(glint::${_lib} SHARED IMPORTED)
    set_target_properties(glint::${_lib} PROPERTIES IMPORTED_LOCATION "${GLINT_TORCH_LIB_DIR}/lib${_lib}.so")
  endforeach()
  target_link_libraries(glint::torch INTERFACE glint::torch_cuda glint::c10_cuda)
  # libtorch_cuda registers its kernels when it is loaded; nothing refers to it, so that some linkers would drop it.
  target_link_options(glint::torch INTERFACE "LINKER:--no-as-needed")
  # It needs the other CUDA libraries, which lie side by side in the wheels, or in the toolkit.
  list(APPEND _glint_torch_runtime_dirs ${_runtime_dirs})
  if(CUDAToolkit_LIBRARY_DIR)
    list(APPEND _glint_torch_runtime_dirs "${CUDAToolkit_LIBRARY_DIR}")
  endif()
endif()
target_compile_features(glint::torch INTERFACE cxx_std_20)
# Every operator has its own header, so that a file parses only what it uses.
target_compile_definitions(glint::torch INTERFACE AT_PER_OPERATOR_HEADERS)
# -idirafter and not -isystem: libtorch bundles a newer fmt, which must not hide the fmt that glint links.
target_compile_options(glint::torch INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-idirafter \"${_glint_torch_root}/include\">"
  "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-idirafter \"${_glint_torch_root}/include/torch/csrc/api/include\">")
foreach(_dir IN LISTS _glint_torch_runtime_dirs)
  target_link_options(glint::torch INTERFACE "LINKER:-rpath-link,${_dir}")
endforeach()

if(NOT CMAKE_FIND_PACKAGE_NAME)
  # Kept, so that configuring again from another shell or Python environment takes the same one.
  set(GLINT_TORCH_ROOT "${_glint_torch_root}" CACHE PATH "The folder of libtorch, with include/ and lib/")
  message(STATUS "libtorch ${GLINT_TORCH_VERSION}: ${_glint_torch_root} (${_glint_torch_origin})")
endif()
