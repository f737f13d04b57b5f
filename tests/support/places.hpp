// Where the sources and the program under test lie. The paths are compiled into one small file, so that all
// other object files are the same in every checkout and a compiler cache can share them.
#pragma once

#include <filesystem>

namespace glint::test {

std::filesystem::path source_dir();
std::filesystem::path program();
std::filesystem::path fault_library();

}  // namespace glint::test
