#include "capi/guard.hpp"

#include "core/utf8.hpp"

#include <glint/version.hpp>

#include <array>
#include <cstring>
#include <exception>

namespace glint::capi {
namespace {

// Fixed room, so that running out of memory can be told without needing any.
thread_local std::array<char, 1024> last_error{};

}  // namespace

Failure failure_in_flight() noexcept {
  try {
    try {
      throw;
    } catch (const Refused& refused) {
      return {refused.status(), detail::valid_utf8(refused.what())};
    } catch (const Error& error) {
      try {
        std::rethrow_if_nested(error);  // what a callback refused, in the run it ended
      } catch (const Refused& refused) {
        return {refused.status(), detail::valid_utf8(refused.what())};
      } catch (...) {  // the Error says it
      }
      return {static_cast<glint_status>(error.code()), detail::valid_utf8(error.what())};
    } catch (const std::bad_alloc&) {
      return {GLINT_OUT_OF_MEMORY, "out of memory"};
    } catch (const std::exception& error) {
      return {GLINT_INTERNAL, detail::valid_utf8(error.what())};
    } catch (...) {
      return {GLINT_INTERNAL, "an exception of unknown type"};
    }
  } catch (...) {  // no memory even for the message
    return {GLINT_OUT_OF_MEMORY, {}};
  }
}

void remember(const Failure& failure) noexcept {
  const std::string_view message = failure.message;
  size_t size = 0;  // of the characters that fit
  while (size < message.size()) {
    const size_t next = size + (std::max)(detail::utf8_length(message.substr(size)), size_t{1});
    if (next >= last_error.size()) break;
    size = next;
  }
  std::memcpy(last_error.data(), message.data(), size);
  last_error[size] = '\0';
}

void give_text(std::string_view text, char* into, size_t size, size_t* needed) {
  if (needed) *needed = text.size() + 1;
  GLINT_CHECK(into || (needed && size == 0), InvalidArgument, "text: expected a buffer, got null");
  if (!into) return;
  if (size < text.size() + 1)
    throw Refused(GLINT_BUFFER_TOO_SMALL,
                  message("text: {} bytes are needed, got {}", text.size() + 1, size));
  std::memcpy(into, text.data(), text.size());
  into[text.size()] = '\0';
}

}  // namespace glint::capi

extern "C" {

GLINT_C_API uint32_t glint_c_version(void) { return GLINT_C_VERSION; }

GLINT_C_API const char* glint_version_string(void) { return glint::version(); }

GLINT_C_API const char* glint_last_error(void) { return glint::capi::last_error.data(); }

GLINT_C_API const char* glint_status_name(glint_status status) {
  switch (glint::capi::enum_number(status)) {
    case GLINT_OK: return "ok";
    case GLINT_INVALID_ARGUMENT: return "invalid argument";
    case GLINT_SHAPE_MISMATCH: return "shape mismatch";
    case GLINT_UNSUPPORTED_DTYPE: return "unsupported dtype";
    case GLINT_UNSUPPORTED_DEVICE: return "unsupported device";
    case GLINT_NOT_FOUND: return "not found";
    case GLINT_BAD_MODEL: return "bad model";
    case GLINT_OUT_OF_MEMORY: return "out of memory";
    case GLINT_CANCELLED: return "cancelled";
    case GLINT_NUMERICAL: return "not finite";
    case GLINT_INTERNAL: return "internal error";
    case GLINT_IO: return "input or output failed";
    case GLINT_PENDING: return "pending";
    case GLINT_BUFFER_TOO_SMALL: return "buffer too small";
    case GLINT_UNSUPPORTED: return "unsupported";
  }
  return "unknown status";
}

}  // extern "C"
