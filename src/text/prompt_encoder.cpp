#include "family/family.hpp"

#include <glint/core/error.hpp>
#include <glint/text/prompt_encoder.hpp>

#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>

namespace glint {
namespace {

using families::Family;
using families::numbered;
using families::TextLayout;

at::Tensor joined_tokens(const TextLayout& text, const std::vector<EncodedPrompt>& parts,
                         const std::vector<int64_t>& absent, const PromptCall& call) {
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
  const at::Tensor behind = absent.empty() ? parts[*text.behind].conditioning.tokens
                                           : at::zeros({1, call.text_length.value_or(absent[0]), absent[1]});
  const int64_t missing = behind.size(2) - tokens.size(2);
  GLINT_CHECK(missing >= 0, BadModel, "components.{}: expected embeddings of at least {} values, got {}",
              numbered("text_encoder", *text.behind), tokens.size(2), behind.size(2));
  return at::cat({at::constant_pad_nd(tokens, {0, missing}), behind}, 1);
}

bool contains(const std::vector<size_t>& list, size_t i) {
  return std::find(list.begin(), list.end(), i) != list.end();
}

/// Returns what encoder i is asked for.
TextCall text_call(const TextLayout& text, size_t i, const PromptCall& call) {
  TextCall result;
  if (text.clip_skip && contains(text.side_by_side, i)) result.skip = call.clip_skip;
  if (text.free_length == i) result.length = call.text_length;
  return result;
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

EncodedPrompt PromptEncoder::encode(std::string_view prompt, const PictureSize& size,
                                    const PromptCall& call) const {
  const Family& family = families::find(family_);
  const std::array<std::string_view, 3> own{prompt, call.second, call.third};
  std::vector<EncodedPrompt> parts;
  for (size_t i = 0; i < encoders_.size(); ++i) {
    const std::string_view text = i < own.size() && !own[i].empty() ? own[i] : prompt;
    parts.push_back(encoders_[i]->encode(text, family.text ? text_call(*family.text, i, call) : TextCall{}));
  }
  if (!family.text) return std::move(parts.front());
  EncodedPrompt result;
  result.conditioning.tokens = joined_tokens(*family.text, parts, absent_, call);
  result.conditioning.pooled = joined_pooled(family, parts);
  result.conditioning = with_size(std::move(result.conditioning), family_, size, call.origin);
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

void PromptEncoder::check(const PromptOptions& options) const {
  const std::array<std::pair<const char*, const std::string*>, 4> texts{
      {{"prompt_2", &options.prompt_2},
       {"negative_2", &options.negative_2},
       {"prompt_3", &options.prompt_3},
       {"negative_3", &options.negative_3}}};
  for (size_t i = 0; i < texts.size(); ++i) {
    const size_t needed = 2 + i / 2;
    GLINT_CHECK(texts[i].second->empty() || encoders_.size() >= needed, InvalidArgument,
                "{}: expected none: this {} model has {} text encoders", texts[i].first, family_,
                encoders_.size());
  }
  const auto& text = families::find(family_).text;
  GLINT_CHECK(!options.clip_skip || (text && text->clip_skip), InvalidArgument,
              "clip_skip: expected none: the tokens of family {} are not those of one of CLIP's layers",
              family_);
  GLINT_CHECK(!options.text_length || (text && text->free_length), InvalidArgument,
              "text_length: expected none: family {} has no text encoder of free length", family_);
  GLINT_CHECK(options.text_length.value_or(2) >= 2 && options.text_length.value_or(2) <= 512, InvalidArgument,
              "text_length: expected 2 to 512 tokens, got {}", options.text_length.value_or(2));
  GLINT_CHECK(options.clip_skip.value_or(0) >= 0, InvalidArgument, "clip_skip: expected at least 0, got {}",
              options.clip_skip.value_or(0));
  for (size_t i = 0; text && i < encoders_.size(); ++i)
    encoders_[i]->check(text_call(*text, i, positive_call(options)));
}

PromptCall positive_call(const PromptOptions& options) {
  return {.second = options.prompt_2,
          .third = options.prompt_3,
          .clip_skip = options.clip_skip.value_or(0),
          .text_length = options.text_length,
          .origin = options.origin};
}

PromptCall negative_call(const PromptOptions& options) {
  return {.second = options.negative_2,
          .third = options.negative_3,
          .text_length = options.text_length,
          .origin = options.negative_origin.original ? options.negative_origin : options.origin};
}

void check_origins(const PromptOptions& options, std::string_view family) {
  constexpr int64_t kLargest = 65536;
  const auto& text = families::find(family).text;
  const auto known = [&](const char* name, bool given) {
    GLINT_CHECK(!given || (text && text->time_ids), InvalidArgument,
                "{}: expected none: the network of family {} is not told where a picture comes from", name,
                family);
  };
  const auto check_size = [&](const char* name, const std::optional<PictureSize>& size) {
    known(name, size.has_value());
    if (!size) return;
    GLINT_CHECK(size->width >= 1 && size->width <= kLargest && size->height >= 1 && size->height <= kLargest,
                InvalidArgument, "{}: expected sides of 1 to {} px, got {}x{}", name, kLargest, size->width,
                size->height);
  };
  const auto check_crop = [&](const char* name, const std::optional<PictureCorner>& corner) {
    known(name, corner.has_value());
    if (!corner) return;
    GLINT_CHECK(corner->left >= 0 && corner->left <= kLargest && corner->top >= 0 && corner->top <= kLargest,
                InvalidArgument, "{}: expected 0 to {} px each, got {},{}", name, kLargest, corner->left,
                corner->top);
  };
  check_size("original_size", options.origin.original);
  check_crop("crop", options.origin.crop);
  check_size("target_size", options.origin.target);
  const PictureOrigin& negative = options.negative_origin;
  check_size("negative_original_size", negative.original);
  check_crop("negative_crop", negative.crop);
  check_size("negative_target_size", negative.target);
  GLINT_CHECK(negative.original.has_value() == negative.target.has_value(), InvalidArgument,
              "{}: expected {} beside it",
              negative.original ? "negative_original_size" : "negative_target_size",
              negative.original ? "negative_target_size" : "negative_original_size");
  GLINT_CHECK(!negative.crop || negative.original, InvalidArgument,
              "negative_crop: expected negative_original_size and negative_target_size beside it");
}

Conditioning with_size(Conditioning conditioning, std::string_view family, const PictureSize& size,
                       const PictureOrigin& origin) {
  const auto& text = families::find(family).text;
  if (!text || !text->time_ids || conditioning.extras.contains("time_ids")) return conditioning;
  const PictureSize original = origin.original.value_or(size), target = origin.target.value_or(size);
  const PictureCorner crop = origin.crop.value_or(PictureCorner{});
  std::vector<float> ids;
  for (const int64_t value :
       {original.height, original.width, crop.top, crop.left, target.height, target.width})
    ids.push_back(static_cast<float>(value));
  conditioning.extras["time_ids"] = at::tensor(ids).unsqueeze(0);
  return conditioning;
}

}  // namespace glint
