#include "capi/engine.hpp"

#include <array>
#include <charconv>
#include <cmath>

namespace glint::capi {
namespace {

constexpr std::array<std::string_view, 9> kCommon{"steps",    "seed", "count",    "guidance", "solver",
                                                  "schedule", "with", "adapters", "size"};

double parse_number(std::string_view text, std::string_view name) {
  const std::optional<double> value = number_from(text);
  GLINT_CHECK(value && std::isfinite(*value), InvalidArgument, "{}: expected a number, got '{}'", name, text);
  return *value;
}

uint64_t parse_seed(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  GLINT_CHECK(error == std::errc() && end == text.data() + text.size(), InvalidArgument,
              "seed: expected a whole number from 0 to 2^64 - 1, got '{}'", text);
  return value;
}

/// Calls `take` with each of the pieces between separators.
template <typename Take>
void each(std::string_view text, char separator, Take take) {
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(separator));
    text.remove_prefix((std::min)(item.size() + 1, text.size()));
    take(item);
  }
}

void check_whole(double value, double least, double most, std::string_view name) {
  GLINT_CHECK(value >= least && value <= most && value == std::floor(value), InvalidArgument,
              "{}: expected a whole number from {} to {}, got {}", name, least, most, value);
}

}  // namespace

void Engine::check_key(std::string_view key) const {
  GLINT_CHECK(std::find(kCommon.begin(), kCommon.end(), key) != kCommon.end(), InvalidArgument,
              "key: unknown option '{}'{}", key, did_you_mean(key, kCommon));
}

std::string Options::get(std::string_view key, std::string_view otherwise) const {
  const auto found = text.find(key);
  return found == text.end() ? std::string(otherwise) : found->second;
}

double Options::number(std::string_view key, double otherwise) const {
  const auto found = text.find(key);
  return found == text.end() ? otherwise : parse_number(found->second, key);
}

Tensor Options::tensor(const std::string& name) const {
  const auto found = tensors.find(name);
  return found == tensors.end() ? Tensor() : found->second;
}

OptionValues parse_pairs(std::string_view text, std::string_view owner) {
  return parse_choice(message("{}:{}", owner, text)).options;
}

std::vector<Choice> parse_methods(std::string_view text) {
  std::vector<Choice> methods;
  each(text, ';', [&](std::string_view item) { methods.push_back(parse_choice(item)); });
  return methods;
}

Adapters parse_adapters(std::string_view text) {
  Adapters adapters;
  for (const auto& [name, value] : parse_pairs(text, "adapters"))
    adapters[name] = parse_number(std::get<std::string>(value), "adapters." + name);
  return adapters;
}

std::vector<int64_t> parse_sizes(std::string_view text) {
  std::vector<int64_t> sizes;
  each(text, ',', [&](std::string_view item) {
    const double size = parse_number(item, "size");
    check_whole(size, 1, 1 << 20, "size");
    sizes.push_back(static_cast<int64_t>(size));
  });
  return sizes;
}

void Engine::check(const Options& options, std::string_view key) const {
  check_key(key);
  const std::string text = options.get(key);
  if (key == "steps") check_whole(options.number(key, 1), 1, 100000, key);
  if (key == "count") check_whole(options.number(key, 1), 1, 65536, key);
  if (key == "seed") parse_seed(text);
  if (key == "guidance") options.number(key, 1);
  if (key == "adapters") parse_adapters(text);
  if (key == "size") parse_sizes(text);
  if (key == "schedule") read_options<GridOptions>("schedule", parse_pairs(text, "schedule"));
  if (key == "solver") builtins().entry(parse_choice(text).name, "solver");
  if (key == "with")
    for (const Choice& choice : parse_methods(text)) builtins().entry(choice.name);
}

}  // namespace glint::capi
