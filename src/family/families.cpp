#include "family/family.hpp"

#include <algorithm>

namespace glint::families {

Family sdxl(), sd3(), flux(), wan(), emoji(), tensor();

std::span<const Family> all() {
  static const std::vector<Family> families{sdxl(), sd3(), flux(), wan(), emoji(), tensor()};
  return families;
}

const Family& find(std::string_view name) {
  static const Family plain{};
  const auto found =
      std::find_if(all().begin(), all().end(), [&](const Family& f) { return f.name == name; });
  return found == all().end() ? plain : *found;
}

std::string numbered(const std::string& role, size_t index) {
  return index == 0 ? role : role + "_" + std::to_string(index + 1);
}

}  // namespace glint::families
