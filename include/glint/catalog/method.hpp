// A method in a request: a rule, filter, strategy, attention policy or guidance, or cache, by name or as an
// object.
#pragma once

#include <glint/catalog/registry.hpp>

#include <concepts>
#include <string>
#include <utility>
#include <variant>

namespace glint {

/// An entry of GenerateRequest::with: a registered name with options, such as {"z-sampling", {{"merge",
/// 0.5}}}, or an object made by the program.
class Method {
 public:
  Method(Choice choice) : value_(std::move(choice)) {}
  Method(std::string name, OptionValues options = {})
      : value_(Choice{.name = std::move(name), .options = std::move(options)}) {}
  Method(const char* name, OptionValues options = {}) : Method(std::string(name), std::move(options)) {}
  template <std::convertible_to<Product> T>
  Method(T object) : value_(Product(std::move(object))) {}

  /// Returns the name and options; null for an object.
  const Choice* choice() const { return std::get_if<Choice>(&value_); }

  /// Returns whether this is a rule given as an object.
  bool makes_rule() const {
    const auto* object = std::get_if<Product>(&value_);
    return object && std::holds_alternative<std::shared_ptr<const GuidanceRule>>(*object);
  }

  /// Returns the object, or makes the named one.   Errors: those of Registry::make.
  Product make(const Registry& registry, const BuildContext& context) const {
    return choice() ? registry.make(*choice(), context) : std::get<Product>(value_);
  }

 private:
  std::variant<Choice, Product> value_;
};

}  // namespace glint
