#include "tests/support/places.hpp"

namespace glint::test {

std::filesystem::path source_dir() { return GLINT_SOURCE_DIR; }
std::filesystem::path program() { return GLINT_PROGRAM; }

}  // namespace glint::test
