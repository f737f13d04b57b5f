// What a call that should fail says.
#pragma once

#include <glint/core/error.hpp>

#include "tests/support/catch.hpp"

#include <optional>
#include <string>
#include <utility>

namespace glint::test {

// Catch2 3 gave this name to another matcher.
#if __has_include(<catch2/catch_all.hpp>)
inline auto Contains(const std::string& part) { return Catch::Matchers::ContainsSubstring(part); }
#else
using Catch::Matchers::Contains;
#endif

/// The Error that `function` throws, or nothing.
template <typename Function>
std::optional<Error> error_of(Function&& function) {
  try {
    function();
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

/// "BadModel: message" of the Error that `function` throws, or "no error".
template <typename Function>
std::string failure(Function&& function) {
  const auto error = error_of(std::forward<Function>(function));
  return error ? std::string(enum_name(error->code())) + ": " + error->what() : "no error";
}

}  // namespace glint::test
