// Figures of a test, for documentation: printed when GLINT_TEST_REPORT is set, so that quoted numbers can be
// had again.
#pragma once

#include <fmt/core.h>

#include <cstdlib>
#include <utility>

namespace glint::test {

template <typename... Args>
void report(fmt::format_string<Args...> format, Args&&... args) {
  if (std::getenv("GLINT_TEST_REPORT")) fmt::print("{}\n", fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace glint::test
