// Rules, solvers and strategies by name: what the program, the C interface and configuration files go through.
#pragma once

#include <glint/attention/policy.hpp>
#include <glint/catalog/build_context.hpp>
#include <glint/guidance/filters.hpp>
#include <glint/guidance/guidance_rule.hpp>
#include <glint/sampling/noise_strategy.hpp>
#include <glint/catalog/option_values.hpp>
#include <glint/solver/solver.hpp>
#include <glint/sampling/step_strategy.hpp>

#include <functional>
#include <memory>
#include <variant>
#include <vector>

namespace glint {

/// Names and how to make what they stand for. A class is registered by its `info`, its `Options`, and either a
/// constructor from Options or a static make(Options), or make(Options, BuildContext) for what needs the bundle; a filter by a
/// constructor from the rule it wraps and Options.
/// Thread:  const calls are safe concurrently. A value: copy builtins() and add to it.
class GLINT_API Registry {
 public:
  using Product = std::variant<std::shared_ptr<const GuidanceRule>, std::shared_ptr<const Solver>,
                               std::shared_ptr<const StepStrategy>, std::shared_ptr<const NoiseStrategy>,
                               RuleFilter, std::shared_ptr<const AttentionPolicy>>;

  struct Entry {
    EntryInfo info;
    std::vector<OptionDescription> options;
    std::function<Product(const OptionValues&, const BuildContext&)> make;
  };

  /// Adds T under T::info.name. Errors: InvalidArgument if the name is taken.
  template <typename T>
  void add() {
    add({.info = T::info,
         .options = describe_options<typename T::Options>(),
         .make = [](const OptionValues& values, [[maybe_unused]] const BuildContext& context) -> Product {
           auto options = read_options<typename T::Options>(T::info.name, values);
           if constexpr (requires { T::make(options, context); }) {
             return T::make(options, context);
           } else if constexpr (std::is_constructible_v<T, std::shared_ptr<const GuidanceRule>,
                                                        decltype(options)>) {
             return RuleFilter(
                 [options](std::shared_ptr<const GuidanceRule> inner) -> std::shared_ptr<const GuidanceRule> {
                   return std::make_shared<const T>(std::move(inner), options);
                 });
           } else if constexpr (requires { T::make(options); }) {
             return T::make(options);
           } else {
             return product_of(std::make_shared<const T>(options));
           }
         }});
  }
  void add(Entry entry);

  /// Returns what `choice` names, of the kind asked for.
  /// Errors: InvalidArgument for an unknown name (with the nearest), another kind's name, or bad options.
  std::shared_ptr<const GuidanceRule> rule(const Choice& choice, const BuildContext& context = {}) const;
  std::shared_ptr<const Solver> solver(const Choice& choice, const BuildContext& context = {}) const;
  std::shared_ptr<const StepStrategy> step(const Choice& choice, const BuildContext& context = {}) const;
  std::shared_ptr<const NoiseStrategy> noise(const Choice& choice, const BuildContext& context = {}) const;
  RuleFilter filter(const Choice& choice, const BuildContext& context = {}) const;
  std::shared_ptr<const AttentionPolicy> attention(const Choice& choice,
                                                   const BuildContext& context = {}) const;

  /// Returns the entry of a name. Errors: InvalidArgument as above.
  const Entry& entry(std::string_view kind, std::string_view name) const;

  /// Returns all entries, by kind and then in order of registration.
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  static Product product_of(std::shared_ptr<const GuidanceRule> p) { return p; }
  static Product product_of(std::shared_ptr<const Solver> p) { return p; }
  static Product product_of(std::shared_ptr<const StepStrategy> p) { return p; }
  static Product product_of(std::shared_ptr<const NoiseStrategy> p) { return p; }

  std::vector<Entry> entries_;
};

/// Returns everything that ships with the library.
GLINT_API const Registry& builtins();

}  // namespace glint
