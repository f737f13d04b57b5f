#include "io/json.hpp"

#include <glint/catalog/option_values.hpp>

namespace glint {

Choice parse_choice(std::string_view text) {
  const size_t colon = text.find(':');
  Choice choice{.name = std::string(text.substr(0, colon))};
  GLINT_CHECK(!choice.name.empty(), InvalidArgument, "'{}': expected NAME[:key=value,...], got no name",
              text);
  if (colon == std::string_view::npos) return choice;
  std::string_view rest = text.substr(colon + 1);
  while (!rest.empty()) {
    const std::string_view item = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(item.size() + 1, rest.size()));
    const size_t equals = item.find('=');
    GLINT_CHECK(equals != std::string_view::npos && equals > 0, InvalidArgument,
                "{}: expected key=value, got '{}'", choice.name, item);
    const auto [at, fresh] =
        choice.options.emplace(std::string(item.substr(0, equals)), std::string(item.substr(equals + 1)));
    GLINT_CHECK(fresh, InvalidArgument, "{}: option '{}' is given twice", choice.name, at->first);
  }
  return choice;
}

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
