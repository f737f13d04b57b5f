// The border of the C interface: exceptions become statuses and messages, handles and structs are checked.
#pragma once

#include <glint/glint.h>
#include <glint/core/error.hpp>

#include <algorithm>
#include <cfenv>
#include <cstddef>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

namespace glint::capi {

/// A failure with a status that ErrorCode does not have.
class Refused : public std::runtime_error {
 public:
  Refused(glint_status status, const std::string& message) : std::runtime_error(message), status_(status) {}
  glint_status status() const { return status_; }

 private:
  glint_status status_;
};

/// A status and its message, which is UTF-8 whatever it quotes.
struct Failure {
  glint_status status = GLINT_OK;
  std::string message = {};
};

/// Returns what the exception in flight means. Call inside a catch block.
Failure failure_in_flight() noexcept;

/// Keeps the message of this thread's last failure.
void remember(const Failure& failure) noexcept;

/// Puts the thread's floating-point state aside for its own lifetime. A host's rounding, its flushing of
/// small numbers or its traps would change results, or end the process where a schedule takes log(0).
class DefaultFloats {
 public:
  DefaultFloats() {
    std::fegetenv(&host_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~DefaultFloats() { std::fesetenv(&host_); }
  DefaultFloats(const DefaultFloats&) = delete;
  DefaultFloats& operator=(const DefaultFloats&) = delete;

 private:
  std::fenv_t host_;
};

/// Runs `function` and returns its status, whatever it throws.
template <typename Function>
glint_status guarded(Function&& function) noexcept {
  const DefaultFloats floats;
  try {
    function();
    return GLINT_OK;
  } catch (...) {
    const Failure failure = failure_in_flight();
    remember(failure);
    return failure.status;
  }
}

/// Ends data of the host by the function it gave, if any. What that throws has nowhere to go.
inline void end_host_data(void (*destroy)(void*), void* user) noexcept {
  try {
    if (destroy) destroy(user);
  } catch (...) {  // a destructor is on its way
  }
}

/// The size a struct had in the header's first version.
template <typename T>
inline constexpr size_t kFirstSize = sizeof(T);
template <>
inline constexpr size_t kFirstSize<glint_engine_config> = offsetof(glint_engine_config, memory_limit);

/// Returns the caller's struct, zeros in place of what an older header did not have.
/// Errors: InvalidArgument for null or an impossible size; GLINT_UNSUPPORTED if it says more than is known.
template <typename T>
T taken(const T* given, std::string_view name) {
  GLINT_CHECK(given, InvalidArgument, "{}: expected a struct, got null", name);
  const size_t size = given->struct_size;
  GLINT_CHECK(size == kFirstSize<T> || (size >= sizeof(T) && size < 65536), InvalidArgument,
              "{}.struct_size: expected {}, got {}; set it to sizeof the struct", name, sizeof(T), size);
  const auto* bytes = reinterpret_cast<const unsigned char*>(given);
  for (size_t i = sizeof(T); i < size; ++i)
    if (bytes[i] != 0)
      throw Refused(GLINT_UNSUPPORTED,
                    message("{}: made for a newer glint, whose additions are not known here", name));
  T copy{};
  std::memcpy(&copy, given, (std::min)(size, sizeof(T)));
  return copy;
}

/// Returns the number in an enum that a host filled in, which may be none of its values: to read it as the
/// enum would be undefined.
template <typename Enum>
int enum_number(const Enum& value) {
  static_assert(std::is_enum_v<Enum> && sizeof value == sizeof(int));
  int number = 0;
  std::memcpy(&number, &value, sizeof number);
  return number;
}

/// Writes text and its size as the interface's functions do.
void give_text(std::string_view text, char* into, size_t size, size_t* needed);

/// Throws unless `pointer`, an argument called `name`, is there.
inline void check_given(const void* pointer, std::string_view name) {
  GLINT_CHECK(pointer, InvalidArgument, "{}: expected a pointer, got null", name);
}

}  // namespace glint::capi
