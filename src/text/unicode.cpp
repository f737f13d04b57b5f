#include "text/unicode.hpp"

#include <glint/core/error.hpp>

#include <utf8proc.h>

#include <cstdlib>
#include <memory>

namespace glint::detail {

std::u32string code_points(std::string_view utf8) {
  std::u32string points;
  points.reserve(utf8.size());
  const auto* at = reinterpret_cast<const utf8proc_uint8_t*>(utf8.data());
  for (auto left = static_cast<utf8proc_ssize_t>(utf8.size()); left > 0;) {
    utf8proc_int32_t point = 0;
    const auto bytes = utf8proc_iterate(at, left, &point);
    GLINT_CHECK(bytes > 0, Internal, "text: expected UTF-8 that was checked before");
    points.push_back(static_cast<char32_t>(point));
    at += bytes;
    left -= bytes;
  }
  return points;
}

std::string to_utf8(std::u32string_view points) {
  std::string utf8;
  for (const char32_t point : points) {
    utf8proc_uint8_t bytes[4];
    const auto size = utf8proc_encode_char(static_cast<utf8proc_int32_t>(point), bytes);
    utf8.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
  }
  return utf8;
}

std::u32string composed(std::u32string_view points) {
  const std::string utf8 = to_utf8(points);
  utf8proc_uint8_t* out = nullptr;
  const auto size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(utf8.data()),
                                 static_cast<utf8proc_ssize_t>(utf8.size()), &out,
                                 static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(out, &std::free);
  GLINT_CHECK(size >= 0, OutOfMemory, "text: {}", utf8proc_errmsg(size));
  return code_points({reinterpret_cast<const char*>(out), static_cast<size_t>(size)});
}

std::u32string upper_case(std::u32string_view points) {
  std::u32string upper(points);
  for (char32_t& point : upper)
    point = static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(point)));
  return upper;
}

std::u32string lower_case(std::u32string_view points) {
  constexpr char32_t kDottedI = 0x130;  // the only letter whose lower case has two code points
  std::u32string lower;
  lower.reserve(points.size());
  for (const char32_t point : points) {
    if (point == kDottedI)
      lower += U"i\u0307";
    else
      lower += static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(point)));
  }
  return lower;
}

bool is_letter(char32_t point) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(point));
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool is_number(char32_t point) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(point));
  return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}

bool is_joining(char32_t point) {
  constexpr char32_t kZeroWidthNonJoiner = 0x200C, kZeroWidthJoiner = 0x200D, kFirstTag = 0xE0020,
                     kLastTag = 0xE007F;
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(point));
  return (category >= UTF8PROC_CATEGORY_MN && category <= UTF8PROC_CATEGORY_ME) ||
         point == kZeroWidthNonJoiner || point == kZeroWidthJoiner ||
         (point >= kFirstTag && point <= kLastTag);
}

bool is_symbol(char32_t point) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(point));
  return (category >= UTF8PROC_CATEGORY_SM && category <= UTF8PROC_CATEGORY_SO) ||
         category == UTF8PROC_CATEGORY_CO || category == UTF8PROC_CATEGORY_CN;
}

bool is_space(char32_t point) {
  return (point >= 0x9 && point <= 0xD) || point == 0x20 || point == 0x85 || point == 0xA0 ||
         point == 0x1680 || (point >= 0x2000 && point <= 0x200A) || point == 0x2028 || point == 0x2029 ||
         point == 0x202F || point == 0x205F || point == 0x3000;
}

}  // namespace glint::detail
