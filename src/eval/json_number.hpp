// Numbers that may not have been measured: null in JSON, NaN here.
#pragma once

#include <nlohmann/json.hpp>

#include <cmath>
#include <limits>

namespace glint::detail {

constexpr double kNotMeasured = std::numeric_limits<double>::quiet_NaN();

inline nlohmann::ordered_json to_json_number(double value) {
  return std::isnan(value) ? nlohmann::ordered_json() : nlohmann::ordered_json(value);
}

inline double from_json_number(const nlohmann::ordered_json& json) {
  return json.is_null() ? kNotMeasured : json.get<double>();
}

}  // namespace glint::detail
