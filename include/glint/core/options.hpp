// How an options struct describes itself: JSON, the command line, --help, range checks and documentation all
// follow from that one description.
//
// An options struct has a static template `fields(visit, o)` that calls, for each field,
//   visit("name", o.name, {.help = "what it does", .minimum = 0, .maximum = 1});
// A visitor is any callable with that signature; o may be const or mutable.
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

/// Describes one option beyond its name, type and default.
struct Field {
  std::string_view help;                                      ///< one clause, no full stop
  double minimum = -std::numeric_limits<double>::infinity();  ///< smallest allowed value
  double maximum = std::numeric_limits<double>::infinity();   ///< largest allowed value
  std::string_view unit = "";  ///< e.g. "steps", "fraction of steps"; empty if dimensionless
};

/// The guidance scales a solver is designed for.
struct GuidanceRange {
  double fallback, smallest, largest;
};

/// What a user picks an entry for; `glint list` groups by it.
enum class Goal { Quality, Speed };

/// What the registry, `glint list` and the documentation say about a registered class.
struct EntryInfo {
  /// "rule", "filter", "solver", "step", "noise", "attention", "attention-guidance" or "cache"
  std::string_view kind;
  std::string_view name;     ///< what a user types
  std::string_view summary;  ///< one clause
  std::string_view cost;     ///< network rows, in N (steps), G (rows per guided prediction) and option names
  std::string_view source;   ///< paper and equation
  Goal goal = Goal::Quality;
  std::optional<GuidanceRange> guidance = {};  ///< set for solvers with scales of their own
};

/// Throws InvalidArgument naming `owner`.`name` unless every numeric field of `options` lies in its range.
template <typename Options>
void check_ranges(std::string_view owner, const Options& options) {
  auto in_range = [&](std::string_view name, const auto& value, const Field& field) {
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
  Options::fields(in_range, options);
}

}  // namespace glint
