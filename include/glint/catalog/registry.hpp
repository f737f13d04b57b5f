// The registry of rules, filters, solvers, strategies, attention policies and caches by name, for the command
// line and configuration files.
#pragma once

#include <glint/attention/normalized_guidance.hpp>
#include <glint/attention/policy.hpp>
#include <glint/catalog/build_context.hpp>
#include <glint/catalog/option_values.hpp>
#include <glint/export.hpp>
#include <glint/guidance/guidance_filter.hpp>
#include <glint/guidance/guidance_rule.hpp>
#include <glint/sampling/noise_strategy.hpp>
#include <glint/sampling/step_cache.hpp>
#include <glint/sampling/step_strategy.hpp>
#include <glint/solver/solver.hpp>

#include <functional>
#include <memory>
#include <type_traits>
#include <variant>
#include <vector>

namespace glint {

/// What the registry makes.
using Product = std::variant<std::shared_ptr<const GuidanceRule>, std::shared_ptr<const GuidanceFilter>,
                             std::shared_ptr<const Solver>, StepMethod, std::shared_ptr<const NoiseStrategy>,
                             AttentionPolicy, NormalizedGuidance, std::shared_ptr<const StepCache>>;

/// Makes objects by name. A value type: copy builtins() and add to it.
/// Thread:  const calls are safe concurrently.
class GLINT_API Registry {
 public:
  struct Entry {
    EntryInfo info;
    std::vector<OptionDescription> options;
    std::function<Product(const OptionValues&, const BuildContext&)> make;
    void (*check)(std::string_view name, const OptionValues&) = nullptr;  ///< of the options; null = none

    /// Whether the network has to be loaded for it (LoadOptions::attention).
    bool changes_attention() const {
      return info.kind == "attention" || info.kind == NormalizedGuidance::info.kind;
    }
  };

  /// Adds a class with a static `info`, a type `Options` and a constructor taking that type.
  /// Errors: InvalidArgument if the name is taken, as for all overloads.
  template <typename T>
  void add() {
    add<typename T::Options>(T::info, [](const auto& options) { return std::make_shared<const T>(options); });
  }

  /// Adds a function that makes a product from `Options`, or from Options and BuildContext if it needs the
  /// bundle.
  template <typename Options, typename Function>
  void add(Function function) {
    add<Options>(Options::info, function);
  }
  template <typename Options, typename Function>
  void add(const EntryInfo& info, Function function) {
    add({.info = info,
         .options = describe_options<Options>(),
         .make = [info, function](const OptionValues& values, const BuildContext& context) -> Product {
           const auto options = read_options<Options>(info.name, values);
           if constexpr (std::is_invocable_v<Function, Options, BuildContext>)
             return function(options, context);
           else
             return function(options);
         },
         .check = [](std::string_view name,
                     const OptionValues& values) { read_options<Options>(name, values); }});
  }
  void add(Entry entry);

  /// Makes what `choice` names, of any kind.
  /// Errors: InvalidArgument for an unknown name (with the nearest) or bad options; those of its constructor.
  Product make(const Choice& choice, const BuildContext& context = {}) const;

  /// Checks the name and the options of `choice`, as far as that needs no bundle and no run.
  /// Errors: InvalidArgument as make.
  void check(const Choice& choice) const;

  /// Makes what `choice` names, of one kind.   Errors: as make; InvalidArgument for another kind's name.
  std::shared_ptr<const GuidanceRule> rule(const Choice& choice, const BuildContext& context = {}) const;
  std::shared_ptr<const GuidanceFilter> filter(const Choice& choice, const BuildContext& context = {}) const;
  std::shared_ptr<const Solver> solver(const Choice& choice, const BuildContext& context = {}) const;
  StepMethod step(const Choice& choice, const BuildContext& context = {}) const;
  std::shared_ptr<const NoiseStrategy> noise(const Choice& choice, const BuildContext& context = {}) const;
  AttentionPolicy attention(const Choice& choice, const BuildContext& context = {}) const;
  NormalizedGuidance attention_guidance(const Choice& choice, const BuildContext& context = {}) const;
  std::shared_ptr<const StepCache> cache(const Choice& choice, const BuildContext& context = {}) const;

  /// Returns the entry of a name, of any kind or of `kind` only.   Errors: InvalidArgument as above.
  const Entry& entry(std::string_view name, std::string_view kind = {}) const;

  /// Returns all entries, by kind, then in registration order.
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  template <typename T>
  T made(std::string_view kind, const Choice& choice, const BuildContext& context) const;

  std::vector<Entry> entries_;
};

/// Returns everything that ships with the library.
GLINT_API const Registry& builtins();

}  // namespace glint
