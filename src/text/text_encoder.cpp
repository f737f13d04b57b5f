#include "network/host_state.hpp"
#include "network/loaders.hpp"

#include <glint/core/error.hpp>
#include <glint/text/text_encoder.hpp>

#include <ATen/ops/arange.h>

#include <cstring>

namespace glint {

TextEncoder::TextEncoder(std::shared_ptr<const Tokenizer> tokenizer, std::shared_ptr<const Network> network,
                         TextEncoderOptions options)
    : tokenizer_(std::move(tokenizer)), network_(std::move(network)), options_(std::move(options)) {
  GLINT_CHECK(tokenizer_ && network_, InvalidArgument, "text encoder: expected a tokenizer and a network");
  for (const std::string& name : options_.inputs)
    GLINT_CHECK(name == "ids" || name == "mask", InvalidArgument,
                "text encoder: inputs: expected ids or mask, got '{}'", name);
  detail::parse_device(options_.device);
}

EncodedPrompt TextEncoder::encode(std::string_view prompt) const {
  return detail::torch_boundary(ErrorCode::Internal, "text encoder", [&] { return encoded(prompt); });
}

EncodedPrompt TextEncoder::encoded(std::string_view prompt) const {
  EncodedPrompt result;
  result.tokenized = tokenizer_->encode(prompt);
  const auto length = static_cast<int64_t>(result.tokenized.ids.size());
  auto ids = at::empty({1, length}, at::TensorOptions().dtype(at::kLong));
  std::memcpy(ids.mutable_data_ptr(), result.tokenized.ids.data(), ids.nbytes());

  // By count, not by id: a family may pad with an id that also occurs in prompts.
  const auto mask = at::arange(length).lt(result.tokenized.used).unsqueeze(0);
  std::vector<at::Tensor> arguments;
  for (const std::string& name : options_.inputs)
    arguments.push_back(
        (name == "mask" ? mask.to(at::kLong) : ids).to(detail::parse_device(options_.device)));
  const auto outputs = network_->run(std::move(arguments));
  GLINT_CHECK(outputs.size() == 1 || outputs.size() == 2, BadModel,
              "text encoder: expected tokens or (tokens, pooled), got {} outputs", outputs.size());
  for (const auto& output : outputs)
    GLINT_CHECK(output.defined() && output.is_floating_point(), BadModel,
                "text encoder: expected floating-point outputs, got {}",
                output.defined() ? at::toString(output.scalar_type()) : "an undefined tensor");
  const auto tokens = outputs[0].to(at::kCPU, at::kFloat);
  GLINT_CHECK(tokens.dim() == 3 && tokens.size(0) == 1 && tokens.size(1) == length, BadModel,
              "text encoder: tokens: expected [1,{},D], got {}", length, shape_string(tokens.sizes()));
  result.conditioning.tokens = tokens;
  if (outputs.size() == 2) {
    const auto pooled = outputs[1].to(at::kCPU, at::kFloat);
    GLINT_CHECK(pooled.dim() == 2 && pooled.size(0) == 1, BadModel,
                "text encoder: pooled: expected [1,P], got {}", shape_string(pooled.sizes()));
    result.conditioning.pooled = pooled;
  }
  result.conditioning.mask = mask;
  result.conditioning.extras["ids"] = ids;  // scorers compare images with these
  return result;
}

}  // namespace glint
