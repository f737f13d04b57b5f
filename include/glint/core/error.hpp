// The library's only exception type and the check that throws it.
#pragma once

#include <glint/core/enum_names.hpp>
#include <glint/core/message.hpp>
#include <glint/export.hpp>

#include <array>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>

namespace glint {

/// What went wrong, in terms a host program can act on. Values are stable and shared with the C interface.
enum class ErrorCode {
  InvalidArgument = 1,    ///< an option or argument is out of range, or a combination is not allowed
  ShapeMismatch = 2,      ///< a tensor's shape does not match the model or the request
  UnsupportedDtype = 3,   ///< a tensor's dtype is not supported here
  UnsupportedDevice = 4,  ///< the device is absent, or this build cannot use it
  NotFound = 5,           ///< no such file, component or registered name
  BadModel = 6,     ///< a model bundle or weight file is malformed, corrupt or incompatible with this build
  OutOfMemory = 7,  ///< an allocation failed
  Cancelled = 8,    ///< the observer asked to stop; all objects stay usable
  Numerical = 9,    ///< a value is not finite where it must be
  Internal = 10,    ///< a bug in this library or one it depends on
  Io = 11           ///< reading or writing failed: a full disk, a device's error, a closed pipe
};

template <>
struct EnumNames<ErrorCode> {
  static constexpr std::array<std::string_view, 12> values{
      "None",     "InvalidArgument", "ShapeMismatch", "UnsupportedDtype", "UnsupportedDevice", "NotFound",
      "BadModel", "OutOfMemory",     "Cancelled",     "Numerical",        "Internal",          "Io"};
};

/// Every failure the library reports. The message names the argument, what was expected and what was passed.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

namespace detail {
[[noreturn]] GLINT_API void throw_error(ErrorCode code, std::string_view format,
                                        std::initializer_list<MessageArgument> arguments);
}  // namespace detail

/// Throws `Error(code, message(format, args...))`, in which bytes that are not UTF-8 read `\xff`.
template <typename... Args>
[[noreturn]] void fail(ErrorCode code, MessageFormat<std::type_identity_t<Args>...> format,
                       const Args&... args) {
  detail::throw_error(code, format.text(), {MessageArgument(args)...});
}

}  // namespace glint

/// Throws glint::Error(glint::ErrorCode::code, formatted message) unless `condition` holds.
/// Write the message as "argument: expected ..., got ...".
#define GLINT_CHECK(condition, code, ...)                   \
  do {                                                      \
    if (!(condition)) [[unlikely]]                          \
      ::glint::fail(::glint::ErrorCode::code, __VA_ARGS__); \
  } while (false)
