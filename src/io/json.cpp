#include "io/json.hpp"

#include "io/file.hpp"

#include <glint/core/error.hpp>
#include <glint/io/utf8.hpp>

#include <algorithm>
#include <set>
#include <vector>

namespace glint::detail {
namespace {

constexpr int kDeepest = 64;

using Event = nlohmann::json::parse_event_t;

/// Rejects JSON that we do not accept: duplicate keys, and nesting only an attack would use.
class Strictness {
 public:
  explicit Strictness(const std::string& where) : where_(where) {}

  bool operator()(int depth, Event event, nlohmann::json& value) {
    GLINT_CHECK(depth <= kDeepest, BadModel, "{}: nested deeper than {} levels", where_, kDeepest);
    if (event == Event::object_start) keys_.emplace_back();
    if (event == Event::object_end) keys_.pop_back();
    if (event == Event::key) {
      const auto& key = value.get_ref<const std::string&>();
      GLINT_CHECK(keys_.back().insert(key).second, BadModel, "{}: key '{}' appears twice", where_, key);
    }
    return true;
  }

 private:
  const std::string& where_;
  std::vector<std::set<std::string>> keys_;  // keys of the open objects, outermost first
};

}  // namespace

nlohmann::json parse_json(std::string_view text, const std::string& where) {
  if (const auto offset = invalid_utf8_offset(text))
    fail(ErrorCode::BadModel, "{}: byte {} is not UTF-8", where, *offset);
  try {
    Strictness strictness(where);
    return nlohmann::json::parse(text, std::ref(strictness));
  } catch (const nlohmann::json::exception& error) {
    // Strip the label from "[json.exception.parse_error.101] parse error at line 1, column 2: ...".
    const std::string_view message = error.what();
    const auto label = message.find("] ");
    fail(ErrorCode::BadModel, "{}: not valid JSON: {}", where,
         label == std::string_view::npos ? message : message.substr(label + 2));
  }
}

nlohmann::json parse_json_file(const std::filesystem::path& path) {
  return parse_json(MappedFile(path).text(), path.string());
}

std::string describe(const nlohmann::json& value) {
  constexpr size_t kLongest = 40;
  if (value.is_structured() || value.is_null()) return value.type_name();
  std::string text = value.dump();
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  if (const auto cut = invalid_utf8_offset(text)) text = text.substr(0, *cut) + "...";
  return std::string(value.type_name()) + " " + text;
}

std::string first_difference(const nlohmann::json& found, const nlohmann::json& wanted) {
  const nlohmann::json difference = nlohmann::json::diff(wanted, found);
  if (difference.empty()) return "";
  const std::string path = difference.front().at("path").get<std::string>();
  const nlohmann::json::json_pointer place(path);
  const auto shown = [&](const nlohmann::json& json) {
    return json.contains(place) ? json.at(place).dump() : std::string("nothing");
  };
  std::string name = path.substr(std::min<size_t>(path.size(), 1));
  std::replace(name.begin(), name.end(), '/', '.');
  return fmt::format("its {} is {}, this run's is {}", name.empty() ? "manifest" : name, shown(found),
                     shown(wanted));
}

}  // namespace glint::detail
