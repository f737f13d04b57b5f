// Options by name, from a command line or a JSON document, and the two visitors that connect them to an
// options struct: one fills it, one describes it.
#pragma once

#include <glint/core/nearest.hpp>
#include <glint/core/number.hpp>
#include <glint/core/options.hpp>
#include <glint/core/schedule_options.hpp>
#include <glint/export.hpp>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <variant>
#include <vector>

namespace glint {

/// A value as given. Text is converted to the field's type, so "0.5" equals 0.5; "unset" clears an optional
/// field.
struct OptionValue : std::variant<bool, double, std::string> {
  OptionValue(bool value) : variant(value) {}
  template <typename T>
  requires(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) OptionValue(T value)
      : variant(static_cast<double>(value)) {}
  OptionValue(const char* value) : variant(std::string(value)) {}
  OptionValue(std::string value) : variant(std::move(value)) {}
};
using OptionValues = std::map<std::string, OptionValue, std::less<>>;

/// A registered name with options, as in "z-sampling:guidance_inverse=0,merge=0.5".
struct Choice {
  std::string name;
  OptionValues options = {};
};

/// Parses NAME[:key=value,...].
/// Errors: InvalidArgument, quoting the part, for an empty name or key, a missing '=' or a repeated key.
GLINT_API Choice parse_choice(std::string_view text);

#ifndef GLINT_CORE_ONLY
/// Parses a JSON object of numbers, strings and booleans.   Errors: InvalidArgument for anything else.
GLINT_API OptionValues parse_options(std::string_view json);
#endif

/// One option, as shown by `glint list`, --help and the documentation.
struct OptionDescription {
  std::string name;
  std::string type;           ///< number, integer, boolean, choice or text
  std::string default_value;  ///< "" = unset
  std::vector<std::string> choices = {};
  double minimum = 0, maximum = 0;
  std::string unit, help;
};

namespace detail {

template <typename T>
struct is_optional : std::false_type {};
template <typename T>
struct is_optional<std::optional<T>> : std::true_type {};

inline std::string text_of(const OptionValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  return message("{}", std::get<double>(value));
}

/// Returns the number in `value`, or nullopt if it is not one.
inline std::optional<double> number_in(const OptionValue& value) {
  if (const auto* given = std::get_if<double>(&value)) return *given;
  return number_from(text_of(value));
}

/// Fills fields from values, then reports values that match no field.
class OptionReader {
 public:
  OptionReader(std::string owner, const OptionValues& values) : owner_(std::move(owner)), values_(values) {}

  template <typename T>
  void operator()(std::string_view name, T& field, const Field& about) {
    known_.emplace(name);
    const auto found = values_.find(name);
    if (found == values_.end()) return;
    set(name, found->second, field, about);
  }

  /// Errors: InvalidArgument naming the first value that matches no field, with the nearest name.
  void finish() const {
    for (const auto& [name, value] : values_)
      GLINT_CHECK(known_.contains(name), InvalidArgument, "{}: unknown option '{}'{}", owner_, name,
                  did_you_mean(name, known_));
  }

 private:
  template <typename T>
  void set(std::string_view name, const OptionValue& value, T& field, const Field& about) {
    if constexpr (is_optional<T>::value) {
      if (text_of(value) == "unset")
        field.reset();
      else
        set(name, value, field.emplace(), about);
    } else if constexpr (std::is_same_v<T, bool>) {
      const std::string text = text_of(value);
      GLINT_CHECK(text == "true" || text == "false", InvalidArgument,
                  "{}.{}: expected true or false, got '{}'", owner_, name, text);
      field = text == "true";
    } else if constexpr (NamedEnum<T>) {
      const std::string text = text_of(value);
      const auto& names = EnumNames<T>::values;
      const auto match = std::find(names.begin(), names.end(), text);
      GLINT_CHECK(match != names.end(), InvalidArgument, "{}.{}: expected one of {}, got '{}'{}", owner_,
                  name, joined_text(names, ", "), text, did_you_mean(text, names));
      field = static_cast<T>(match - names.begin());
    } else if constexpr (std::is_same_v<T, std::string>) {
      field = text_of(value);
    } else if constexpr (std::is_same_v<T, SigmaSpacing>) {
      field = SigmaSpacing::from_text(message("{}.{}", owner_, name), text_of(value));
    } else {
      field = static_cast<T>(number(name, value, std::is_integral_v<T>));
      const double checked = static_cast<double>(field);
      GLINT_CHECK(checked >= about.minimum && checked <= about.maximum, InvalidArgument,
                  "{}.{}: expected a value in [{}, {}], got {}", owner_, name, about.minimum, about.maximum,
                  checked);
    }
  }

  double number(std::string_view name, const OptionValue& value, bool integer) const {
    const std::optional<double> given = number_in(value);
    const bool valid = given && std::isfinite(*given) &&
                       (!integer || (*given == std::floor(*given) && std::abs(*given) < 2e9));
    GLINT_CHECK(valid, InvalidArgument, "{}.{}: expected {}, got '{}'", owner_, name,
                integer ? "an integer" : "a number", text_of(value));
    return *given;
  }

  std::string owner_;
  const OptionValues& values_;
  std::set<std::string, std::less<>> known_;
};

/// Collects fields with their types and defaults.
class OptionDescriber {
 public:
  std::vector<OptionDescription> found;

  template <typename T>
  void operator()(std::string_view name, const T& field, const Field& about) {
    OptionDescription d{.name = std::string(name),
                        .type = "",
                        .default_value = "",
                        .minimum = about.minimum,
                        .maximum = about.maximum,
                        .unit = std::string(about.unit),
                        .help = std::string(about.help)};
    describe(field, d);
    found.push_back(std::move(d));
  }

 private:
  template <typename T>
  static void describe(const T& field, OptionDescription& d) {
    if constexpr (is_optional<T>::value) {
      describe(field.value_or(typename T::value_type{}), d);
      if (!field) d.default_value.clear();
    } else if constexpr (std::is_same_v<T, bool>) {
      d.type = "boolean";
      d.default_value = field ? "true" : "false";
    } else if constexpr (NamedEnum<T>) {
      d.type = "choice";
      d.default_value = enum_name(field);
      d.choices.assign(EnumNames<T>::values.begin(), EnumNames<T>::values.end());
    } else if constexpr (std::is_same_v<T, std::string>) {
      d.type = "text";
      d.default_value = field;
    } else if constexpr (std::is_same_v<T, SigmaSpacing>) {
      describe(field.named, d);
    } else {
      d.type = std::is_integral_v<T> ? "integer" : "number";
      d.default_value = message("{}", field);
    }
  }
};

}  // namespace detail

/// Returns `options` with the given values filled in.
/// Errors: InvalidArgument naming owner.option, for an unknown name (with the nearest), a wrong type or a
///         value out of range.
template <typename Options>
Options read_options(std::string_view owner, const OptionValues& values, Options options = {}) {
  detail::OptionReader reader{std::string(owner), values};
  Options::fields(reader, options);
  reader.finish();
  return options;
}

/// Returns descriptions of all fields of `Options`.
template <typename Options>
std::vector<OptionDescription> describe_options(const Options& defaults = {}) {
  detail::OptionDescriber describer;
  Options::fields(describer, defaults);
  return std::move(describer.found);
}

}  // namespace glint
