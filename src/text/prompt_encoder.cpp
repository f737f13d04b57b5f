#include "family/family.hpp"

#include <glint/core/error.hpp>
#include <glint/text/prompt_encoder.hpp>

#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

namespace glint {
namespace {

using families::Family;
using families::numbered;
using families::TextLayout;

at::Tensor joined_tokens(const TextLayout& text, const std::vector<EncodedPrompt>& parts,
                         const std::vector<int64_t>& absent) {
  std::vector<at::Tensor> wide;
  for (const size_t i : text.side_by_side) {
    wide.push_back(parts[i].conditioning.tokens);
    GLINT_CHECK(wide.back().size(1) == wide.front().size(1), BadModel,
                "components.{}: expected as many tokens as components.{}, {}, got {}",
                numbered("text_encoder", i), numbered("text_encoder", text.side_by_side.front()),
                wide.front().size(1), wide.back().size(1));
  }
  const at::Tensor tokens = wide.size() == 1 ? wide.front() : at::cat(wide, -1);
  if (!text.behind) return tokens;
  const at::Tensor behind =
      absent.empty() ? parts[*text.behind].conditioning.tokens : at::zeros({1, absent[0], absent[1]});
  const int64_t missing = behind.size(2) - tokens.size(2);
  GLINT_CHECK(missing >= 0, BadModel, "components.{}: expected embeddings of at least {} values, got {}",
              numbered("text_encoder", *text.behind), tokens.size(2), behind.size(2));
  return at::cat({at::constant_pad_nd(tokens, {0, missing}), behind}, 1);
}

at::Tensor joined_pooled(const Family& family, const std::vector<EncodedPrompt>& parts) {
  std::vector<at::Tensor> pooled;
  for (const size_t i : family.text->pooled) {
    pooled.push_back(parts[i].conditioning.pooled);
    GLINT_CHECK(pooled.back().defined(), BadModel,
                "components.{}: family {} needs its pooled embedding; it returns tokens only",
                numbered("text_encoder", i), family.name);
  }
  if (pooled.empty()) return {};
  return pooled.size() == 1 ? pooled.front() : at::cat(pooled, -1);
}

}  // namespace

PromptEncoder::PromptEncoder(std::string family, std::vector<std::shared_ptr<const TextEncoder>> encoders,
                             std::vector<int64_t> absent)
    : family_(std::move(family)), encoders_(std::move(encoders)), absent_(std::move(absent)) {
  const size_t expected = components(family_).size() - (absent_.empty() ? 0 : 1);
  GLINT_CHECK(encoders_.size() == expected, InvalidArgument,
              "encoders: family {} has {} text encoders, got {}", family_, expected, encoders_.size());
  for (const auto& encoder : encoders_)
    GLINT_CHECK(encoder, InvalidArgument, "encoders: expected text encoders, got a null pointer");
}

EncodedPrompt PromptEncoder::encode(std::string_view prompt, const PictureSize& size) const {
  std::vector<EncodedPrompt> parts;
  for (const auto& encoder : encoders_) parts.push_back(encoder->encode(prompt));
  const Family& family = families::find(family_);
  if (!family.text) return std::move(parts.front());
  EncodedPrompt result;
  result.conditioning.tokens = joined_tokens(*family.text, parts, absent_);
  result.conditioning.pooled = joined_pooled(family, parts);
  result.conditioning = with_size(std::move(result.conditioning), family_, size);
  const auto longest = std::max_element(parts.begin(), parts.end(), [](const auto& a, const auto& b) {
    return a.tokenized.ids.size() < b.tokenized.ids.size();
  });
  result.tokenized = std::move(longest->tokenized);
  return result;
}

std::vector<std::string> PromptEncoder::components(std::string_view family) {
  std::vector<std::string> names;
  for (size_t i = 0; i < families::find(family).encoders; ++i) names.push_back(numbered("text_encoder", i));
  return names;
}

Conditioning with_size(Conditioning conditioning, std::string_view family, const PictureSize& size) {
  const auto& text = families::find(family).text;
  if (!text || !text->time_ids || conditioning.extras.contains("time_ids")) return conditioning;
  const auto height = static_cast<float>(size.height), width = static_cast<float>(size.width);
  conditioning.extras["time_ids"] = at::tensor({height, width, 0.0F, 0.0F, height, width}).unsqueeze(0);
  return conditioning;
}

}  // namespace glint
