# Toolchain: Windows programs by Debian's g++-mingw-w64-x86-64-posix, run by wine.
#   cmake -S . -B build/windows -DCMAKE_TOOLCHAIN_FILE=cmake/mingw-w64.cmake -DGLINT_CORE_ONLY=ON
set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(CMAKE_C_COMPILER x86_64-w64-mingw32-gcc-posix)
set(CMAKE_CXX_COMPILER x86_64-w64-mingw32-g++-posix)
set(CMAKE_EXE_LINKER_FLAGS_INIT "-static")
find_program(GLINT_WINE NAMES wine64 wine PATHS /usr/lib/wine)
if(GLINT_WINE)
  set(CMAKE_CROSSCOMPILING_EMULATOR "${GLINT_WINE}")
endif()
