#include <glint/version.hpp>

#include "tests/support/catch.hpp"

#include <string>

TEST_CASE("The library knows its version and libtorch's", "[unit]") {
  CHECK(std::string(glint::version()) == "0.1.0");
  CHECK(std::string(glint::torch_version()).rfind("2.", 0) == 0);
}
