// The one exception type of the library and the check that throws it.
#pragma once

#include <glint/core/enum_names.hpp>

#include <fmt/core.h>

#include <array>
#include <stdexcept>
#include <string>
#include <utility>

namespace glint {

/// What went wrong, as a host program can act on it. Values are stable and shared with the C interface.
enum class ErrorCode {
  InvalidArgument = 1,  ///< an option or argument is out of its stated range, or a combination is not allowed
  ShapeMismatch = 2,    ///< a tensor does not have the shape the model or request asks for
  UnsupportedDtype = 3,   ///< a tensor's element type cannot be used here
  UnsupportedDevice = 4,  ///< the device is absent, or this build cannot use it
  NotFound = 5,           ///< a file, component or registered name does not exist
  BadModel = 6,           ///< a model bundle or weight file is malformed, corrupt or does not fit this build
  OutOfMemory = 7,        ///< an allocation failed
  Cancelled = 8,          ///< the observer asked to stop; every object stays usable
  Numerical = 9,          ///< a value that must be finite is not
  Internal = 10           ///< a fault of this library or of a library below it
};

template <>
struct EnumNames<ErrorCode> {
  static constexpr std::array<std::string_view, 11> values{
      "None",     "InvalidArgument", "ShapeMismatch", "UnsupportedDtype", "UnsupportedDevice", "NotFound",
      "BadModel", "OutOfMemory",     "Cancelled",     "Numerical",        "Internal"};
};

/// Every failure the library reports. The message names the argument, what was expected and what came.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

/// Throws `Error(code, fmt::format(format, args...))`.
template <typename... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace glint

/// Throws glint::Error(glint::ErrorCode::code, formatted message) unless `condition` holds.
/// Write the message as "argument: expected ..., got ...".
#define GLINT_CHECK(condition, code, ...)                   \
  do {                                                      \
    if (!(condition)) [[unlikely]]                          \
      ::glint::fail(::glint::ErrorCode::code, __VA_ARGS__); \
  } while (false)
