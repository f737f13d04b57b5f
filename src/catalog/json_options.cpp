#include "io/json.hpp"

#include <glint/catalog/option_values.hpp>

namespace glint {

OptionValues parse_options(std::string_view json) {
  const nlohmann::json document = [json] {
    try {
      return detail::parse_json(json, "options");
    } catch (const Error& error) {
      throw Error(ErrorCode::InvalidArgument,
                  error.what());  // an argument, not a bundle's file
    }
  }();
  GLINT_CHECK(document.is_object(), InvalidArgument, "options: expected a JSON object, got {}",
              detail::describe(document));
  OptionValues values;
  for (const auto& [name, value] : document.items()) {
    if (value.is_boolean()) {
      values.emplace(name, value.get<bool>());
    } else if (value.is_number()) {
      values.emplace(name, value.get<double>());
    } else {
      GLINT_CHECK(value.is_string(), InvalidArgument,
                  "options.{}: expected a number, string or boolean, got {}", name, detail::describe(value));
      values.emplace(name, value.get<std::string>());
    }
  }
  return values;
}

}  // namespace glint
