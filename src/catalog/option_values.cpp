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

}  // namespace glint
