#include "text/web_text.hpp"

#include "text/html_references.hpp"
#include "text/repaired.hpp"
#include "text/unicode.hpp"

namespace glint::detail {

std::string clean_web_text(std::string_view text) {
  std::u32string result;
  for (const char32_t point : unescaped(unescaped(repaired(code_points(text))))) {
    if (!is_space(point))
      result += point;
    else if (!result.empty() && result.back() != ' ')
      result += U' ';
  }
  if (!result.empty() && result.back() == ' ') result.pop_back();
  return to_utf8(result);
}

}  // namespace glint::detail
