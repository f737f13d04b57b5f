#include "io/json.hpp"

#include "io/file.hpp"

#include <glint/core/error.hpp>
#include <glint/io/utf8.hpp>

#include <algorithm>
#include <vector>

namespace glint::detail {
namespace {

using nlohmann::json;

constexpr size_t kDeepest = 64;

/// Builds a document and rejects what we do not accept: duplicate keys, and nesting only an attack would use.
/// The library's own parser with a callback is not used: it looks at all earlier members after each one.
class Builder final : public nlohmann::json_sax<json> {
 public:
  explicit Builder(const std::string& where) : where_(where) {}

  json take() { return std::move(root_); }
  const std::string& problem() const { return problem_; }

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t&) override { return put(value); }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t& value) override { return put(std::move(value)); }

  bool start_object(size_t) override { return open(json::object()); }
  bool start_array(size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    const auto [member, fresh] = open_.back()->get_ref<json::object_t&>().emplace(name, nullptr);
    GLINT_CHECK(fresh, BadModel, "{}: key '{}' appears twice", where_, name);
    member_ = &member->second;
    return true;
  }

  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) override {
    problem_ = error.what();
    return false;
  }

 private:
  json* place(json&& value) {
    if (open_.empty()) return &(root_ = std::move(value));
    if (open_.back()->is_object()) return &(*member_ = std::move(value));
    open_.back()->push_back(std::move(value));
    return &open_.back()->back();
  }

  template <typename T>
  bool put(T&& value) {
    place(json(std::forward<T>(value)));
    return true;
  }

  bool open(json&& value) {
    GLINT_CHECK(open_.size() < kDeepest, BadModel, "{}: nested deeper than {} levels", where_, kDeepest);
    open_.push_back(place(std::move(value)));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  const std::string& where_;
  json root_;
  std::vector<json*>
      open_;  // the open objects and arrays, outermost first; none of them moves while it is open
  json* member_ = nullptr;  // the place of the value after a key
  std::string problem_;
};

}  // namespace

json parse_json(std::string_view text, const std::string& where) {
  if (const auto offset = invalid_utf8_offset(text))
    fail(ErrorCode::BadModel, "{}: byte {} is not UTF-8", where, *offset);
  // The parser takes a zero byte for the end of the text, and would not see what follows.
  if (const auto zero = text.find('\0'); zero != std::string_view::npos)
    fail(ErrorCode::BadModel, "{}: not valid JSON: byte {} is zero", where, zero);
  Builder builder(where);
  if (json::sax_parse(text, &builder)) return builder.take();
  // Strip the label from "[json.exception.parse_error.101] parse error at line 1, column 2: ...". The end is
  // what was read last, which may be long, and may end within a character.
  constexpr size_t kLongest = 200;  // columns
  const std::string_view message = builder.problem();
  const auto label = message.find("] ");
  fail(ErrorCode::BadModel, "{}: not valid JSON: {}", where,
       shortened(printable(label == std::string_view::npos ? message : message.substr(label + 2)), kLongest));
}

json parse_json_file(const std::filesystem::path& path) {
  return parse_json(FileBytes(path).text(), path.string());
}

std::string describe(const json& value) {
  constexpr size_t kLongest = 40;  // columns
  if (value.is_structured() || value.is_null()) return value.type_name();
  const std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  return std::string(value.type_name()) + " " + shortened(text, kLongest + 3);
}

std::string first_difference(const json& found, const json& wanted) {
  const json difference = json::diff(wanted, found);
  if (difference.empty()) return "";
  const std::string path = difference.front().at("path").get<std::string>();
  const json::json_pointer place(path);
  const auto shown = [&](const json& document) {
    return document.contains(place) ? document.at(place).dump() : std::string("nothing");
  };
  std::string name = path.substr(std::min<size_t>(path.size(), 1));
  std::replace(name.begin(), name.end(), '/', '.');
  return message("its {} is {}, this run's is {}", name.empty() ? "manifest" : name, shown(found),
                 shown(wanted));
}

}  // namespace glint::detail
