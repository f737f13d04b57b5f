# Toolchain: WebAssembly by Debian's emscripten, run by node (preset wasm). Exceptions are how the library reports
# errors, files are the system's own, and a test may need more memory than a page starts with.
find_program(GLINT_EMCC emcc REQUIRED)
file(REAL_PATH "${GLINT_EMCC}" emcc)
get_filename_component(folder "${emcc}" DIRECTORY)
if(NOT EXISTS "${folder}/cmake/Modules/Platform/Emscripten.cmake")
  set(folder /usr/share/emscripten)
endif()
include("${folder}/cmake/Modules/Platform/Emscripten.cmake")
set(CMAKE_CXX_FLAGS_INIT "-fexceptions")
# Compiled as it is read: newer versions of node would fetch the program, which they do not from files.
set(CMAKE_EXE_LINKER_FLAGS_INIT
  "-fexceptions -sNODERAWFS=1 -sALLOW_MEMORY_GROWTH=1 -sEXIT_RUNTIME=1 -sWASM_ASYNC_COMPILATION=0")
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)  # Eigen and what the tests need are headers
