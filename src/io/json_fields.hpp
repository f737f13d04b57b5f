// Reads JSON objects field by field into plain structs. A struct lists its fields once, in a function
// template `fields(visitor, struct)`, visited by the reader and the field-name lister below.
#pragma once

#include "io/json.hpp"

#include <glint/core/enum_names.hpp>
#include <glint/core/error.hpp>
#include <glint/core/nearest.hpp>

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace glint::detail {

using Names = std::span<const std::string_view>;

/// Throws "expected ..., got ...", prefixed with the document and path.
[[noreturn]] inline void bad_field(const std::string& path, const std::string& expected,
                                   const nlohmann::json& got) {
  fail(ErrorCode::BadModel, "{}: expected {}, got {}", path, expected, describe(got));
}

inline void read_value(const nlohmann::json& value, const std::string& path, std::string& out) {
  if (!value.is_string()) bad_field(path, "string", value);
  out = value.get<std::string>();
  GLINT_CHECK(!out.empty(), BadModel, "{}: expected a text, got an empty string", path);
}

inline void read_value(const nlohmann::json& value, const std::string& path, bool& out) {
  if (!value.is_boolean()) bad_field(path, "true or false", value);
  out = value.get<bool>();
}

inline void read_value(const nlohmann::json& value, const std::string& path, int64_t& out) {
  constexpr int64_t kLargest = (int64_t{1} << 31) - 1;
  if (!value.is_number_integer()) bad_field(path, "integer", value);
  const bool small = value.is_number_unsigned() ? value.get<uint64_t>() <= uint64_t{kLargest}
                                                : value.get<int64_t>() >= -kLargest;
  if (!small) bad_field(path, "integer of at most 31 bits", value);
  out = value.get<int64_t>();
}

inline void read_value(const nlohmann::json& value, const std::string& path, double& out) {
  if (!value.is_number()) bad_field(path, "number", value);
  out = value.get<double>();
  if (!std::isfinite(out)) bad_field(path, "finite number", value);
}

template <typename T>
void read_value(const nlohmann::json& value, const std::string& path, std::vector<T>& out) {
  constexpr bool kStrings = std::is_same_v<T, std::string>;
  if (!value.is_array()) bad_field(path, kStrings ? "array of strings" : "array of integers", value);
  out.clear();
  for (size_t i = 0; i < value.size(); ++i)
    read_value(value[i], path + "[" + std::to_string(i) + "]", out.emplace_back());
}

template <typename T>
void read_value(const nlohmann::json& value, const std::string& path, std::optional<T>& out) {
  if (value.is_null())
    out.reset();
  else
    read_value(value, path, out.emplace());
}

/// Visitor that reads. Visited fields are known; `finish` rejects the rest.
class FieldReader {
 public:
  FieldReader(const nlohmann::json& object, std::string where, std::string path)
      : object_(object), where_(std::move(where)), path_(std::move(path)) {
    if (!object.is_object())
      fail(ErrorCode::BadModel, "{}: expected object, got {}", place(""), describe(object));
  }

  template <typename T>
  void required(const char* name, T& out) {
    const auto* value = find(name);
    GLINT_CHECK(value, BadModel, "{}: missing field", place(name));
    read_value(*value, place(name), out);
  }

  template <typename T>
  void optional(const char* name, T& out) {
    if (const auto* value = find(name)) read_value(*value, place(name), out);
  }

  /// Reads one of a fixed set of strings.
  void choice(const char* name, std::string& out, Names names, bool needed = true) {
    const auto* value = find(name);
    GLINT_CHECK(value || !needed, BadModel, "{}: missing field", place(name));
    if (!value) return;
    read_value(*value, place(name), out);
    GLINT_CHECK(std::find(names.begin(), names.end(), out) != names.end(), BadModel,
                "{}: expected {}, got '{}'{}", place(name), joined_text(names, " | "), out,
                did_you_mean(out, names));
  }

  /// Reads an enumerator by name, one of `names`.
  template <NamedEnum E>
  void choice(const char* name, E& out, bool needed = true, Names names = EnumNames<E>::values) {
    std::string text(enum_name(out));
    choice(name, text, names, needed);
    out = *enum_value<E>(text);
  }

  /// Reads a nested object with `read(FieldReader&)`.
  template <typename Read>
  void object(const char* name, bool needed, Read&& read) {
    const auto* value = find(name);
    GLINT_CHECK(value || !needed, BadModel, "{}: missing field", place(name));
    if (!value) return;
    FieldReader inner(*value, where_, join(name));
    read(inner);
    inner.finish();
  }

  /// Rejects unknown fields.
  void finish() const {
    for (const auto& [name, unused] : object_.items())
      if (std::find(known_.begin(), known_.end(), name) == known_.end())
        fail(ErrorCode::BadModel, "{}: unknown field{}", place(name), did_you_mean(name, known_));
  }

  /// Throws unless `holds`, for constraints on a field's value.
  void rule(bool holds, const char* name, const char* expected) const {
    if (holds) return;
    const auto value = object_.find(name);
    if (value == object_.end())
      fail(ErrorCode::BadModel, "{}: missing field, expected {}", place(name), expected);
    bad_field(place(name), expected, *value);
  }

  /// Returns the value of a field with several forms; null if absent.
  const nlohmann::json* find(const char* name) {
    known_.emplace_back(name);
    const auto found = object_.find(name);
    return found == object_.end() ? nullptr : &*found;
  }

  const nlohmann::json& json() const { return object_; }
  std::string place(const std::string& name) const {
    const auto path = name.empty() ? path_ : join(name);
    return path.empty() ? where_ : where_ + ": " + path;
  }
  static constexpr bool kReads = true;

 private:
  std::string join(const std::string& name) const { return path_.empty() ? name : path_ + "." + name; }

  const nlohmann::json& object_;
  std::string where_, path_;
  std::vector<std::string> known_;
};

/// Visitor that lists dotted field names.
class FieldLister {
 public:
  FieldLister(std::vector<std::string>& names, std::string prefix)
      : names_(names), prefix_(std::move(prefix)) {}

  template <typename T>
  void required(const char* name, T&) {
    add(name);
  }
  template <typename T>
  void optional(const char* name, T&) {
    add(name);
  }
  void choice(const char* name, std::string&, Names, bool = true) { add(name); }
  template <NamedEnum E>
  void choice(const char* name, E&, bool = true, Names = {}) {
    add(name);
  }
  template <typename Read>
  void object(const char* name, bool, Read&& read) {
    add(name);
    FieldLister inner(names_, prefix_ + name + ".");
    read(inner);
  }
  void rule(bool, const char*, const char*) const {}
  void add(const std::string& name) { names_.push_back(prefix_ + name); }
  static constexpr bool kReads = false;

 private:
  std::vector<std::string>& names_;
  std::string prefix_;
};

}  // namespace glint::detail
