// How an options struct describes itself once, and everything else (JSON, the command line, --help, range
// checks, documentation) follows from that description.
//
// A struct of options has a static template `fields(visit, o)` that calls, for each field,
//   visit("name", o.name, {.help = "what it does", .minimum = 0, .maximum = 1});
// A visitor is any callable with that signature; o is const or not, as the visitor needs.
#pragma once

#include <glint/core/enum_names.hpp>
#include <glint/core/error.hpp>

#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <string_view>
#include <type_traits>

namespace glint {

/// What is known of one option besides its name, type and default.
struct Field {
  std::string_view help;                                      ///< one clause, no full stop
  double minimum = -std::numeric_limits<double>::infinity();  ///< smallest value allowed
  double maximum = std::numeric_limits<double>::infinity();   ///< largest value allowed
  std::string_view unit = "";  ///< "steps", "fraction of steps"; empty = no unit
};

/// Guidance scales that a solver is made for.
struct GuidanceRange {
  double fallback, smallest, largest;
};

/// What a user wants of an entry; `glint list` groups by it.
enum class Goal { Quality, Speed };

/// What the registry, `glint list` and the documentation say of a registered class.
struct EntryInfo {
  std::string_view kind;     ///< "rule", "solver", "step", "noise" or "attention"
  std::string_view name;     ///< what a user types
  std::string_view summary;  ///< one clause
  std::string_view cost;     ///< rows, in N (steps), G (rows of one guided prediction) and the options' names
  std::string_view source;   ///< paper and equation
  Goal goal = Goal::Quality;
  std::optional<GuidanceRange> guidance = {};  ///< of solvers whose scales are not the model's
};

/// Throws InvalidArgument naming `owner`.`name` unless every numeric field of `options` lies in its range.
template <typename Options>
void check_ranges(std::string_view owner, const Options& options) {
  auto check = [&](std::string_view name, const auto& value, const Field& field) {
    using T = std::decay_t<decltype(value)>;
    std::optional<double> number;
    if constexpr (std::is_same_v<T, std::optional<double>>) {
      number = value;
    } else if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
      number = static_cast<double>(value);
    }
    if (!number) return;
    GLINT_CHECK(std::isfinite(*number) && *number >= field.minimum && *number <= field.maximum,
                InvalidArgument, "{}.{}: expected a value in [{}, {}], got {}", owner, name, field.minimum,
                field.maximum, *number);
  };
  Options::fields(check, options);
}

}  // namespace glint
