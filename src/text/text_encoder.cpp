#include "network/host_state.hpp"
#include "network/loaders.hpp"

#include <glint/core/error.hpp>
#include <glint/text/text_encoder.hpp>

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <cstring>

namespace glint {

TextEncoder::TextEncoder(std::shared_ptr<const Tokenizer> tokenizer, std::shared_ptr<const Network> network,
                         TextEncoderOptions options)
    : tokenizer_(std::move(tokenizer)), network_(std::move(network)), options_(std::move(options)) {
  GLINT_CHECK(tokenizer_ && network_, InvalidArgument, "text encoder: expected a tokenizer and a network");
  for (const std::string& name : options_.inputs)
    GLINT_CHECK(name == "ids" || name == "mask" || name == "skip", InvalidArgument,
                "text encoder: inputs: expected ids, mask or skip, got '{}'", name);
  detail::parse_device(options_.device);
}

void TextEncoder::check(const TextCall& call) const {
  const auto& inputs = options_.inputs;
  if (call.skip != 0) {
    GLINT_CHECK(std::find(inputs.begin(), inputs.end(), "skip") != inputs.end(), InvalidArgument,
                "clip_skip: the text encoder's file always returns the same layer; export it again");
    GLINT_CHECK(call.skip > 0 && call.skip < options_.layers, InvalidArgument,
                "clip_skip: expected 0 to {}, for an encoder of {} layers, got {}", options_.layers - 1,
                options_.layers, call.skip);
  }
  if (!call.length || *call.length == tokenizer_->length()) return;
  GLINT_CHECK(options_.any_length, InvalidArgument,
              "text_length: the text encoder's file is for {} tokens only, not {}; export it as torchscript",
              tokenizer_->length(), *call.length);
  GLINT_CHECK(*call.length >= 2 && *call.length <= 512, InvalidArgument,
              "text_length: expected 2 to 512 tokens, got {}", *call.length);
}

EncodedPrompt TextEncoder::encode(std::string_view prompt, const TextCall& call) const {
  return detail::torch_boundary(ErrorCode::Internal, "text encoder", [&] { return encoded(prompt, call); });
}

EncodedPrompt TextEncoder::encoded(std::string_view prompt, const TextCall& call) const {
  check(call);
  EncodedPrompt result;
  const bool other = call.length && *call.length != tokenizer_->length();
  result.tokenized = (other ? tokenizer_->with_length(*call.length) : tokenizer_)->encode(prompt);
  const auto length = static_cast<int64_t>(result.tokenized.ids.size());
  auto ids = at::empty({1, length}, at::TensorOptions().dtype(at::kLong));
  std::memcpy(ids.mutable_data_ptr(), result.tokenized.ids.data(), ids.nbytes());

  // By count, not by id: a family may pad with an id that also occurs in prompts.
  const auto mask = at::arange(length).lt(result.tokenized.used).unsqueeze(0);
  std::vector<at::Tensor> arguments;
  const at::Tensor skip = at::full({1}, call.skip, at::kLong);
  for (const std::string& name : options_.inputs) {
    const at::Tensor argument = name == "mask" ? mask.to(at::kLong) : name == "skip" ? skip : ids;
    arguments.push_back(argument.to(detail::parse_device(options_.device)));
  }
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
