// Figures of a test, for documentation: printed when GLINT_TEST_REPORT is set, so that quoted numbers can be
// had again.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#ifndef GLINT_CORE_ONLY

#include <fmt/core.h>

namespace glint::test {

template <typename... Args>
void report(fmt::format_string<Args...> format, Args&&... args) {
  if (std::getenv("GLINT_TEST_REPORT")) fmt::print("{}\n", fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace glint::test

#else

#include <glint/core/message.hpp>

namespace glint::test {

/// Without alignment or precision: the light core's tests do not need fmt.
template <typename... Args>
void report(std::string_view format, const Args&... args) {
  if (!std::getenv("GLINT_TEST_REPORT")) return;
  const std::string values[] = {message("{}", args)..., ""};
  std::printf("%s", std::string(format).c_str());
  for (const std::string& value : values) std::printf(" %s", value.c_str());
  std::printf("\n");
}

}  // namespace glint::test

#endif
