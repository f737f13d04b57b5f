// Calls a bundle's network by input name, for rules, noise strategies and scorers.
#pragma once

#include <glint/export.hpp>
#include <glint/fwd.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace glint {

class Bundle;
class Network;

/// A component whose inputs are looked up by name on every call: first in what the caller gives, then in the
/// prompt, where the prefix `null_` selects the unconditional one.
/// Thread:  const calls are safe concurrently.
class GLINT_API ComponentCall {
 public:
  /// `role` describes the component in messages, e.g. "a noise network"; `known` lists the inputs that caller
  /// and prompt can supply.
  /// Errors:  NotFound if the bundle has no such component; BadModel if the manifest lists no inputs for it,
  ///          or an unknown one; as Bundle::network.
  ComponentCall(const Bundle& bundle, std::string component, const std::string& role,
                const std::vector<std::string>& known);

  /// Returns the first output, on the network's device and in its dtype. Floating-point inputs are cast to
  /// these; single rows are expanded to B.
  /// Shapes:  every input [B,...] or [1,...], B the rows of the largest one given.
  /// Errors:  InvalidArgument for an input neither supplies; ShapeMismatch for other row counts; BadModel if
  ///          nothing is returned; as Network::run.
  at::Tensor operator()(const std::map<std::string, at::Tensor>& given, const Prompt& prompt) const;

  /// Returns this call with one setting of the network's architecture changed.
  /// Errors:  InvalidArgument, naming the component, for an unknown setting or value.
  ComponentCall with(std::string_view setting, std::string_view value) const;

  /// As Network::check_latents, with the component's name in the message.
  void check_latents(const std::vector<int64_t>& shape) const;

  const std::string& component() const { return component_; }

 private:
  std::shared_ptr<const Network> network_;
  std::string component_, dtype_, device_;
  std::vector<std::string> inputs_;
};

}  // namespace glint
