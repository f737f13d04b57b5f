// Lists of numbers in an option's text: "7.5x10+4" is ten times 7.5, then 4.
#pragma once

#include <glint/core/error.hpp>
#include <glint/core/number.hpp>

#include <cmath>
#include <string>
#include <string_view>
#include <vector>

namespace glint {

/// Returns the numbers of VALUE[xCOUNT]+...
/// Errors: InvalidArgument, naming `argument`, for anything else, values that are not finite, and counts
///         outside [1, 100000].
inline std::vector<double> parse_numbers(std::string_view argument, std::string_view text) {
  const auto number = [&](std::string_view part) {
    const std::optional<double> value = number_from(part);
    GLINT_CHECK(value && std::isfinite(*value), InvalidArgument,
                "{}: expected VALUE[xCOUNT]+..., as in 7.5x10+4x18, got '{}'", argument, text);
    return *value;
  };
  std::vector<double> numbers;
  for (std::string_view rest = text;;) {
    const std::string_view item = rest.substr(0, rest.find('+'));
    const size_t times = item.find('x');
    const double value = number(item.substr(0, times));
    const double count = times == std::string_view::npos ? 1.0 : number(item.substr(times + 1));
    GLINT_CHECK(count >= 1 && count <= 100000 && count == std::floor(count), InvalidArgument,
                "{}: expected 1 to 100000 times a value, got {} in '{}'", argument, count, text);
    numbers.insert(numbers.end(), static_cast<size_t>(count), value);
    if (item.size() == rest.size()) return numbers;
    rest.remove_prefix(item.size() + 1);
  }
}

}  // namespace glint
