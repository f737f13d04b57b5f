#include "network/loaders.hpp"

#include <glint/bundle/bundle.hpp>
#include <glint/bundle/component_call.hpp>
#include <glint/core/error.hpp>
#include <glint/model/conditioning.hpp>

#include <fmt/format.h>

#include <algorithm>

namespace glint {
namespace {

const at::Tensor& found(const std::map<std::string, at::Tensor>& given, const Prompt& prompt,
                        const std::string& name) {
  constexpr std::string_view kNull = "null_";
  if (const auto own = given.find(name); own != given.end()) return own->second;
  return name.starts_with(kNull) ? named_input(prompt.uncond, name.substr(kNull.size()))
                                 : named_input(prompt.cond, name);
}

}  // namespace

ComponentCall::ComponentCall(const Bundle& bundle, std::string component, const std::string& role,
                             const std::vector<std::string>& known)
    : network_(bundle.network(component)),
      component_(std::move(component)),
      dtype_(bundle.dtype(component_)),
      device_(bundle.options().device),
      inputs_(bundle.manifest().components.at(component_).inputs) {
  GLINT_CHECK(!inputs_.empty(), BadModel, "components.{}.inputs: expected the names of its inputs, got none",
              component_);
  for (const std::string& name : inputs_)
    GLINT_CHECK(std::find(known.begin(), known.end(), name) != known.end(), BadModel,
                "components.{}.inputs: {} cannot be given '{}'; it can have {}", component_, role, name,
                joined_text(known, ", "));
}

ComponentCall ComponentCall::with(std::string_view setting, std::string_view value) const {
  ComponentCall other = *this;
  try {
    other.network_ = network_->with(setting, value);
  } catch (const Error& error) {
    fail(error.code(), "components.{}: {}", component_, error.what());
  }
  return other;
}

void ComponentCall::check_latents(const std::vector<int64_t>& shape) const {
  try {
    network_->check_latents(shape);
  } catch (const Error& error) {
    fail(error.code(), "components.{}: {}", component_, error.what());
  }
}

at::Tensor ComponentCall::operator()(const std::map<std::string, at::Tensor>& given,
                                     const Prompt& prompt) const {
  int64_t rows = 1;
  for (const auto& [name, tensor] : given) rows = std::max(rows, tensor.size(0));
  std::vector<at::Tensor> arguments;
  arguments.reserve(inputs_.size());
  for (const std::string& name : inputs_) {
    const at::Tensor& tensor = found(given, prompt, name);
    GLINT_CHECK(tensor.defined(), InvalidArgument, "{}: takes '{}', which the prompt does not have",
                component_, name);
    GLINT_CHECK(tensor.dim() > 0 && (tensor.size(0) == 1 || tensor.size(0) == rows), ShapeMismatch,
                "{}: {}: expected 1 or {} rows, got {}", component_, name, rows,
                shape_string(tensor.sizes()));
    const at::Device device = detail::parse_device(device_);
    const at::Tensor cast =
        tensor.is_floating_point() ? tensor.to(device, detail::parse_dtype(dtype_)) : tensor.to(device);
    std::vector<int64_t> sizes = cast.sizes().vec();
    sizes.front() = rows;
    arguments.push_back(cast.expand(sizes));
  }
  const std::vector<at::Tensor> outputs = network_->run(std::move(arguments));
  GLINT_CHECK(!outputs.empty() && outputs.front().defined(), BadModel, "{}: the network returned nothing",
              component_);
  GLINT_CHECK(outputs.front().is_floating_point(), BadModel,
              "{}: the network returned {}, expected floating point", component_,
              at::toString(outputs.front().scalar_type()));
  return outputs.front();
}

}  // namespace glint
