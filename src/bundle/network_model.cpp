#include "network/loaders.hpp"

#include <glint/attention/token_order.hpp>
#include <glint/bundle/network_model.hpp>
#include <glint/core/parameterization.hpp>
#include <glint/model/conditioning.hpp>
#include <glint/ops/attention_scope.hpp>

#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

namespace glint {
namespace {

/// Returns the policy's block size in tokens, which is fixed for ISA.
int64_t token_block(const AttentionPolicy& policy) {
  return policy.kind == AttentionKind::Pisa ? policy.pisa.block_size : 64;
}

/// The negative prompts of a call with normalized attention guidance, as conditionings that are the branch's
/// but for tokens and mask.
class Negatives {
 public:
  explicit Negatives(const ModelInput& input) {
    if (!input.normalized) return;
    rows_.reserve(input.negatives.size());
    for (size_t i = 0; i < input.negatives.size(); ++i) {
      const Conditioning* negative = input.negatives[i];
      if (!negative) continue;
      GLINT_CHECK(input.branches[i]->tokens.defined() && negative->tokens.defined(), InvalidArgument,
                  "nag: needs token embeddings of the prompt and of the negative prompt");
      Conditioning& row = rows_.emplace_back(with_tokens(*input.branches[i], negative->tokens));
      row.mask = negative->mask;
      conditionings_.push_back(&row);
      branches_.push_back(static_cast<int64_t>(i));
    }
  }
  Negatives(const Negatives&) = delete;
  Negatives& operator=(const Negatives&) = delete;

  const std::vector<const Conditioning*>& conditionings() const { return conditionings_; }

  /// Returns which rows belong together, the negatives' beginning at row `first` of their tensor.
  std::vector<GuidedRows::Pair> pairs(int64_t samples, int64_t first) const {
    std::vector<GuidedRows::Pair> pairs;
    for (const int64_t branch : branches_) {
      pairs.push_back({.prompt = branch * samples, .negative = first});
      first += samples;
    }
    return pairs;
  }

 private:
  std::vector<Conditioning> rows_;  // reserved: their addresses are kept
  std::vector<const Conditioning*> conditionings_;
  std::vector<int64_t> branches_;
};

/// Builds the arguments of one call: batch size, device and dtype are fixed.
class Batch {
 public:
  Batch(const ModelInput& input, const ModelInfo& info, const NetworkInputs& inputs,
        std::vector<const Conditioning*> conditionings)
      : input_(input),
        info_(info),
        inputs_(inputs),
        size_(input.x.size(0)),
        conditionings_(std::move(conditionings)),
        device_(detail::parse_device(inputs.device)),
        dtype_(detail::parse_dtype(inputs.dtype)) {}

  int64_t size() const { return size_; }
  int64_t rows() const { return size_ * static_cast<int64_t>(conditionings_.size()); }

  std::vector<at::Tensor> arguments() const {
    std::vector<at::Tensor> result;
    result.reserve(inputs_.names.size());
    for (const auto& name : inputs_.names) result.push_back(argument(name));
    return result;
  }

  /// Returns what normalized attention guidance has to know of the batch.
  GuidedRows guided() const {
    const at::Tensor& x = input_.x;
    const int64_t frames = x.dim() == 5 ? x.size(2) : 1;
    return {.options = *input_.normalized,
            .text = info_.text_tokens,
            .image_length = frames * (x.size(-2) / inputs_.patch) * (x.size(-1) / inputs_.patch),
            .rows = rows(),
            .samples = size_};
  }

 private:
  /// Returns the network's argument called `name`.
  at::Tensor argument(const std::string& name) const {
    if (name == "latents") return latents();
    if (name == "time") return filled(time());
    if (name == "guidance") return filled(guidance());
    if (name == "token_order") return token_order();
    std::vector<at::Tensor> parts;
    for (const auto* one : conditionings_) parts.push_back(part(*one, name));
    for (const auto& one : parts)
      GLINT_CHECK(one.sizes() == parts.front().sizes(), ShapeMismatch,
                  "{}: branches must have one shape, got {} and {}", name,
                  shape_string(parts.front().sizes()), shape_string(one.sizes()));
    return joined(parts);
  }

  static at::Tensor joined(const std::vector<at::Tensor>& parts) {
    return parts.size() == 1 ? parts.front() : at::cat(parts);
  }

  /// Returns x once per conditioning: cast first, then copied once into the batch.
  at::Tensor latents() const {
    const auto x = input_.x.to(device_, dtype_);
    return joined(std::vector<at::Tensor>(conditionings_.size(), x));
  }

  /// Returns raster order, unless the policy in force benefits from patches. Not batched.
  at::Tensor token_order() const {
    const auto& x = input_.x;
    const int64_t frames = x.dim() == 5 ? x.size(2) : 1, height = x.size(-2) / inputs_.patch,
                  width = x.size(-1) / inputs_.patch;
    if (!input_.attention || !input_.attention->reorder)
      return at::arange(frames * height * width, at::TensorOptions().dtype(at::kLong).device(device_));
    return at::tensor(glint::token_order(frames, height, width, token_block(*input_.attention))).to(device_);
  }

  at::Tensor filled(double value) const {
    const auto precision = dtype_ == at::kDouble ? at::kDouble : at::kFloat;
    return at::full({rows()}, value, at::TensorOptions().dtype(precision).device(device_));
  }

  double time() const {
    switch (inputs_.time) {
      case TimeUnit::Timestep: return input_.level.model_time;
      case TimeUnit::Sigma: return input_.level.sigma;
      case TimeUnit::Unit: break;
    }
    const bool flow = info_.noise_kind == NoiseKind::Flow;
    return flow ? input_.level.sigma : input_.level.model_time / static_cast<double>(inputs_.train_steps);
  }

  double guidance() const {
    GLINT_CHECK(input_.embedded_guidance, InvalidArgument,
                "guidance: {} takes the guidance scale as an input; none given", info_.name);
    return *input_.embedded_guidance;
  }

  /// Returns one branch's tensor with B rows, on the network's device.
  at::Tensor part(const Conditioning& conditioning, const std::string& name) const {
    const auto& tensor = named_input(conditioning, name);
    GLINT_CHECK(tensor.defined(), InvalidArgument, "conditioning: {} takes '{}', which is not set",
                info_.name, name);
    const bool fits = tensor.dim() > 0 && (tensor.size(0) == 1 || tensor.size(0) == size_);
    GLINT_CHECK(fits, ShapeMismatch, "{}: expected 1 or {} rows, got {}", name, size_,
                shape_string(tensor.sizes()));
    auto cast = tensor.is_floating_point() ? tensor.to(device_, dtype_) : tensor.to(device_);
    if (cast.size(0) == size_) return cast;
    auto sizes = cast.sizes().vec();
    sizes[0] = size_;
    return cast.expand(sizes);
  }

  const ModelInput& input_;
  const ModelInfo& info_;
  const NetworkInputs& inputs_;
  int64_t size_;
  std::vector<const Conditioning*> conditionings_;
  at::Device device_;
  at::ScalarType dtype_;
};

void check_input(const ModelInput& input, const ModelInfo& info) {
  const auto& x = input.x;
  GLINT_CHECK(x.defined(), InvalidArgument, "latents: undefined");
  GLINT_CHECK(x.is_floating_point(), UnsupportedDtype, "latents: expected floating point, got {}",
              at::toString(x.scalar_type()));
  GLINT_CHECK(!input.branches.empty(), InvalidArgument, "branches: expected at least one");
  bool fits = x.dim() == static_cast<int64_t>(info.latent_shape.size()) + 1 && x.size(0) > 0;
  for (size_t i = 0; fits && i < info.latent_shape.size(); ++i) {
    const int64_t expected = info.latent_shape[i], got = x.size(static_cast<int64_t>(i) + 1);
    fits = expected == -1 ? got > 0 : got == expected;
  }
  if (!fits)
    fail(ErrorCode::ShapeMismatch, "latents: expected a batch of {} (-1 is any size), got {}",
         shape_string(info.latent_shape), shape_string(x.sizes()));
}

/// Checked on every call, which costs nothing next to a network.
void check_output(const std::vector<at::Tensor>& outputs, const at::Tensor& x, int64_t rows,
                  const std::string& name) {
  GLINT_CHECK(!outputs.empty() && outputs.front().defined(), BadModel, "{}: the denoiser returned nothing",
              name);
  auto expected = x.sizes().vec();
  expected[0] = rows;
  GLINT_CHECK(outputs.front().sizes() == at::IntArrayRef(expected), BadModel,
              "{}: the denoiser returned {}, expected the latents' shape {}", name,
              shape_string(outputs.front().sizes()), shape_string(expected));
  GLINT_CHECK(outputs.front().is_floating_point(), BadModel,
              "{}: the denoiser returned {}, expected floating point", name,
              at::toString(outputs.front().scalar_type()));
}

}  // namespace

NetworkModel::NetworkModel(std::shared_ptr<const Network> network, ModelInfo info, NetworkInputs inputs)
    : NetworkModel(AdaptedNetwork(std::move(network)), std::move(info), std::move(inputs)) {}

NetworkModel::NetworkModel(AdaptedNetwork network, ModelInfo info, NetworkInputs inputs)
    : network_(std::move(network)), info_(std::move(info)), inputs_(std::move(inputs)) {
  const auto names = [&](std::string_view name) {
    return std::find(inputs_.names.begin(), inputs_.names.end(), name) != inputs_.names.end();
  };
  GLINT_CHECK(names("latents"), InvalidArgument, "inputs: expected \"latents\" among the names");
  GLINT_CHECK(names("guidance") == info_.embedded_guidance, InvalidArgument,
              "inputs: \"guidance\" must be named exactly if the model has embedded guidance");
  GLINT_CHECK(inputs_.train_steps > 0, InvalidArgument, "train_steps: expected a positive number, got {}",
              inputs_.train_steps);
  GLINT_CHECK(inputs_.patch > 0, InvalidArgument, "patch: expected a positive number, got {}", inputs_.patch);
  info_.attention_layers = network_.base().attention_layers();
  const auto tokens = token_input();
  info_.text_apart = info_.text_tokens == TextTokens::Cross && info_.attention_layers > 0 && tokens &&
                     network_.base().text_apart(*tokens, inputs_.names.size());
  info_.adapters = network_.names();
  detail::parse_dtype(inputs_.dtype);
  detail::parse_device(inputs_.device);
}

std::optional<size_t> NetworkModel::token_input() const {
  const auto found = std::find(inputs_.names.begin(), inputs_.names.end(), "tokens");
  if (found == inputs_.names.end()) return std::nullopt;
  return static_cast<size_t>(found - inputs_.names.begin());
}

std::vector<at::Tensor> NetworkModel::predict(const ModelInput& input) const {
  check_input(input, info_);
  const std::shared_ptr<const Network> network = network_.at(input.adapters);
  const Negatives negatives(input);
  std::vector<const Conditioning*> conditionings(input.branches.begin(), input.branches.end());
  const auto own = input.x.size(0) * static_cast<int64_t>(conditionings.size());
  if (!info_.text_apart)
    conditionings.insert(conditionings.end(), negatives.conditionings().begin(),
                         negatives.conditionings().end());
  const Batch batch(input, info_, inputs_, std::move(conditionings));
  std::optional<GuidedRows> guided;
  if (!negatives.conditionings().empty()) {
    guided = batch.guided();
    guided->text_length = negatives.conditionings().front()->tokens.size(1);
    guided->pairs = negatives.pairs(batch.size(), info_.text_apart ? 0 : own);
    if (info_.text_apart)
      guided->apart = network->text_keys(Batch(input, info_, inputs_, negatives.conditionings()).arguments(),
                                         *token_input());
  }
  const auto outputs = [&] {
    if (!input.attention && !guided) return network->run(batch.arguments());
    const AttentionScope scope(input.attention ? *input.attention : AttentionPolicy{}, nullptr,
                               guided ? &*guided : nullptr);
    auto result = network->run(batch.arguments());
    GLINT_CHECK(!guided || scope.guided_calls() > 0, BadModel,
                "nag: no attention layer of model '{}' reads the prompt's {} tokens as text_tokens says, {}",
                info_.name, guided->text_length, enum_name(info_.text_tokens));
    return result;
  }();
  check_output(outputs, input.x, batch.rows(), info_.name);

  const auto output = outputs.front().to(input.x.options());
  std::vector<at::Tensor> predictions;
  for (size_t i = 0; i < input.branches.size(); ++i)
    predictions.push_back(output.narrow(0, static_cast<int64_t>(i) * batch.size(), batch.size()));
  return predictions;
}

ModelInfo model_info(const Manifest& manifest) {
  ModelInfo info{.name = manifest.name, .parameterization = manifest.parameterization};
  info.noise_kind = manifest.schedule.kind;
  info.latent_shape = {manifest.latent.channels, -1, -1};
  if (manifest.latent.fixed_size)
    info.latent_shape = {manifest.latent.channels, *manifest.latent.height, *manifest.latent.width};
  if (manifest.latent.frame_scale) info.latent_shape.insert(info.latent_shape.begin() + 1, -1);
  info.uncond_branch = manifest.guidance.uncond_branch;
  info.embedded_guidance = manifest.guidance.embedded;
  return info;
}

}  // namespace glint
