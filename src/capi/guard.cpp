#include "capi/guard.hpp"

#include <glint/version.hpp>

#include <array>
#include <cstring>
#include <exception>

namespace glint::capi {
namespace {

// Fixed room, so that running out of memory can be told without needing any.
thread_local std::array<char, 1024> last_error{};

bool continues(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

/// Returns the bytes of the character at the front, 0 if they are not UTF-8.
/// Source:  The Unicode Standard 15.0, table 3-7.
size_t character_size(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x80) return 1;
  const size_t size = first >= 0xC2 && first <= 0xDF ? 2 : (first & 0xF0) == 0xE0 ? 3 : 4;
  if (first < 0xC2 || first > 0xF4 || text.size() < size) return 0;
  const auto second = static_cast<unsigned char>(text[1]);
  const unsigned least = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const unsigned most = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  if (second < least || second > most) return 0;
  for (size_t i = 2; i < size; ++i)
    if (!continues(text[i])) return 0;
  return size;
}

/// Returns the text with a question mark for each byte that is not UTF-8.
std::string told(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const size_t size = character_size(text);
    result += size > 0 ? text.substr(0, size) : "?";
    text.remove_prefix((std::max)(size, size_t{1}));
  }
  return result;
}

}  // namespace

Failure failure_in_flight() noexcept {
  try {
    try {
      throw;
    } catch (const Refused& refused) {
      return {refused.status(), told(refused.what())};
    } catch (const Error& error) {
      try {
        std::rethrow_if_nested(error);  // what a callback refused, in the run it ended
      } catch (const Refused& refused) {
        return {refused.status(), told(refused.what())};
      } catch (...) {  // the Error says it
      }
      return {static_cast<glint_status>(error.code()), told(error.what())};
    } catch (const std::bad_alloc&) {
      return {GLINT_OUT_OF_MEMORY, "out of memory"};
    } catch (const std::exception& error) {
      return {GLINT_INTERNAL, told(error.what())};
    } catch (...) {
      return {GLINT_INTERNAL, "an exception of unknown type"};
    }
  } catch (...) {  // no memory even for the message
    return {GLINT_OUT_OF_MEMORY, {}};
  }
}

void remember(const Failure& failure) noexcept {
  size_t size = (std::min)(failure.message.size(), last_error.size() - 1);
  while (size < failure.message.size() && size > 0 && continues(failure.message[size])) --size;
  std::memcpy(last_error.data(), failure.message.data(), size);
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
  switch (status) {
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
