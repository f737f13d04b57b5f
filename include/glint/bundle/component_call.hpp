// A network of a bundle that is called by the names of its inputs, as rules, noise strategies and scorers do.
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

/// One component, its inputs looked up by name in every call: first among what the caller gives, then in the
/// prompt, where `null_` before a name means the negative prompt's.
/// Thread:  const calls are safe concurrently.
class GLINT_API ComponentCall {
 public:
  /// `role` says in messages what the component is to its caller, such as "a noise network"; `known` are the
  /// inputs that caller and prompt can have.
  /// Errors:  NotFound if the bundle has no such component; BadModel if the manifest lists no inputs of it,
  ///          or one that is not known; as Bundle::network.
  ComponentCall(const Bundle& bundle, std::string component, const std::string& role,
                const std::vector<std::string>& known);

  /// Returns the first output, on the network's device and of its dtype. Floating inputs are cast to these,
  /// one row is expanded to B.
  /// Shapes:  every input [B,...] or [1,...], B the rows of the largest one given.
  /// Errors:  InvalidArgument for an input that neither has; ShapeMismatch for other numbers of rows;
  ///          BadModel if nothing is returned; as Network::run.
  at::Tensor operator()(const std::map<std::string, at::Tensor>& given, const Prompt& prompt) const;

  /// Returns the same call with a setting of the network's architecture changed.
  /// Errors:  InvalidArgument, naming the component, if the network has no such setting or not that value of
  ///          it.
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
