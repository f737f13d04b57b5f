// Reads protocol buffers field by field, without their compiler.
#pragma once

#include <glint/core/error.hpp>

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace glint::detail {

/// One field. The member that applies depends on the field's type, which the message's reader knows.
struct WireField {
  uint64_t number = 0;
  uint64_t value = 0;           ///< integer, boolean or enumerator
  float real = 0.0f;            ///< float
  std::string_view bytes = {};  ///< text or message
};

/// Reads a message's fields in order, checking every length against the rest.
/// Errors:  BadModel, starting with `where`.
class WireReader {
 public:
  WireReader(std::string_view bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  bool done() const { return bytes_.empty(); }

  WireField next() {
    const uint64_t key = variable();
    WireField field{.number = key >> 3};
    switch (key & 7) {
      case 0: field.value = variable(); break;
      case 1: take(8); break;
      case 2: field.bytes = take(variable()); break;
      case 5: std::memcpy(&field.real, take(4).data(), 4); break;
      default: malformed();
    }
    return field;
  }

 private:
  [[noreturn]] void malformed() const { fail(ErrorCode::BadModel, "{}: malformed or damaged", where_); }

  std::string_view take(uint64_t count) {
    GLINT_CHECK(count <= bytes_.size(), BadModel, "{}: truncated: {} bytes are missing", where_,
                count - bytes_.size());
    const auto taken = bytes_.substr(0, count);
    bytes_.remove_prefix(count);
    return taken;
  }

  uint64_t variable() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<uint8_t>(take(1)[0]);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    malformed();
  }

  static_assert(std::endian::native == std::endian::little, "protocol buffers are little-endian");

  std::string_view bytes_;
  const std::string& where_;
};

}  // namespace glint::detail
