// What an engine does behind the C interface: checks options and prepares work.
#pragma once

#include "capi/guard.hpp"

#include <glint/catalog/registry.hpp>
#include <glint/sampling/sampler.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace glint::capi {

/// RGBA8 rows without gaps.
struct Picture {
  int32_t width = 0, height = 0;
  std::vector<uint8_t> rgba = {};
};

/// What a session holds.
struct Options {
  std::map<std::string, std::string, std::less<>> text = {};
  std::map<std::string, Tensor, std::less<>> tensors = {};
  std::vector<std::shared_ptr<const StepStrategy>> strategies = {};

  /// Returns an option's text, or `otherwise` if it is unset.
  std::string get(std::string_view key, std::string_view otherwise = {}) const;
  /// Returns an option's number, or `otherwise` if it is unset.
  double number(std::string_view key, double otherwise) const;
  /// Returns a tensor of the session, undefined if there is none.
  Tensor tensor(const std::string& name) const;
};

struct Outcome {
  SampleResult sample = {};
  std::vector<Picture> pictures = {};
};

/// A request resolved: everything but the run itself.
using Work = std::function<Outcome(Observer*)>;

/// Immutable; shared by sessions and jobs.
class Engine {
 public:
  using Log = std::function<void(glint_log_level, const std::string&)>;

  explicit Engine(Log log) : log_(std::move(log)) {}
  virtual ~Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Throws unless there is such an option.
  virtual void check_key(std::string_view key) const;

  /// Throws unless the options, of which `key` is new, can be used one by one.
  virtual void check(const Options& options, std::string_view key) const;

  /// Throws for options that cannot be used together. `previews` says whether preview() will be called.
  virtual Work prepare(const Options& options, bool previews) const = 0;

  /// Returns a picture of an estimate of the clean latents [B,C,...], if the engine can make one.
  virtual std::optional<Picture> preview(const Tensor& /*denoised*/) const { return std::nullopt; }

  /// Returns the bytes of weights in memory by component.
  virtual std::map<std::string, int64_t> memory() const { return {}; }

  /// Lets go of all weights, which are loaded again when next used.
  virtual void free_params() const {}

  void log(glint_log_level level, const std::string& message) const {
    if (log_) log_(level, message);
  }

 private:
  Log log_;
};

std::shared_ptr<const Engine> make_host_engine(const glint_model& model, Engine::Log log);
/// Errors:  GLINT_UNSUPPORTED in the library without bundles.
std::shared_ptr<const Engine> make_bundle_engine(const glint_engine_config& config, Engine::Log log);

/// Borrows a tensor's memory; the tensor must be contiguous. `sizes` must outlive the view.
glint_tensor view_of(const Tensor& tensor);
/// Copies what the caller shows.
Tensor copied(const glint_tensor& view, std::string_view name);

/// A step strategy of the host.
std::shared_ptr<const StepStrategy> make_host_strategy(const glint_step_strategy& strategy);

/// Parses "key=value,...".
OptionValues parse_pairs(std::string_view text, std::string_view owner);
/// Parses methods divided by ';'.
std::vector<Choice> parse_methods(std::string_view text);
/// Parses "name=scale,...".
Adapters parse_adapters(std::string_view text);
/// Parses "4,64,64".
std::vector<int64_t> parse_sizes(std::string_view text);

}  // namespace glint::capi
