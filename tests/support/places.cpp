#include "tests/support/places.hpp"

namespace glint::test {

std::filesystem::path source_dir() { return GLINT_SOURCE_DIR; }
std::filesystem::path program() { return GLINT_PROGRAM; }
std::filesystem::path fault_library() { return GLINT_FAULT_LIBRARY; }

}  // namespace glint::test
