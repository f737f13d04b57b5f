#include <glint/core/number.hpp>

#include <charconv>
#include <cstdlib>
#include <string>

namespace glint {

std::optional<double> number_from(std::string_view text) {
  double value = 0.0;
#ifdef __cpp_lib_to_chars
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
#else
  // A standard library that reads only whole numbers: WebAssembly's, whose C library has one locale. It also
  // takes spaces, a plus sign and hexadecimal digits.
  const std::string copy(text);
  if (copy.empty() || copy.find_first_of(" \t\n\v\f\rxX") != std::string::npos || copy[0] == '+')
    return std::nullopt;
  char* end = nullptr;
  value = std::strtod(copy.c_str(), &end);
  if (end != copy.c_str() + copy.size()) return std::nullopt;
#endif
  return value;
}

}  // namespace glint
