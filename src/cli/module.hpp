// The part of the program that needs libtorch: a shared library, loaded by the part that is started.
#pragma once

/// Runs the program on a command line that main.cpp has found to be one; `standard_output` is the descriptor
/// of its standard output. Returns the exit code.
extern "C" int glint_program(int argc, char** argv, int standard_output);

namespace glint::cli {

/// The type of glint_program, and its name for dlsym.
using ModuleEntry = int (*)(int, char**, int);
inline constexpr const char* kModuleEntry = "glint_program";

}  // namespace glint::cli
