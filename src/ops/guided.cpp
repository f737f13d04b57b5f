#include "ops/guided.hpp"

#include <glint/core/error.hpp>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/lerp.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <algorithm>
#include <memory>

namespace glint::ops {
namespace {

/// The image tokens among a layer's queries; none if the layer does not read the prompt.
struct ImageTokens {
  int64_t first = 0, count = 0;
};

ImageTokens image_tokens(const GuidedRows& guided, int64_t queries, int64_t keys, const LayerKeys* apart) {
  if (!guided.apart.empty()) return apart ? ImageTokens{0, queries} : ImageTokens{};
  if (guided.text == TextTokens::Cross)
    return keys == guided.text_length ? ImageTokens{0, queries} : ImageTokens{};
  const bool joint = queries == keys && keys == guided.text_length + guided.image_length;
  if (!joint) return {};
  return {guided.text == TextTokens::First ? guided.text_length : 0, guided.image_length};
}

/// Returns the guided output of image tokens, [B,H,N,E]; NormalizedGuidance has the equation.
at::Tensor normalized(const at::Tensor& prompt, const at::Tensor& negative,
                      const NormalizedGuidance& options) {
  const bool half = prompt.scalar_type() == at::kHalf || prompt.scalar_type() == at::kBFloat16;
  const at::Tensor plus = half ? prompt.to(at::kFloat) : prompt;
  const at::Tensor away = at::lerp(half ? negative.to(at::kFloat) : negative, plus, options.scale);
  const auto norm = [](const at::Tensor& z) { return z.abs().sum({1, 3}, /*keepdim=*/true); };
  const at::Tensor growth = norm(plus).mul(options.tau).div(norm(away));
  // 0 / 0 where the output is zero, which any factor leaves so.
  return at::lerp(plus, away.mul(growth.nan_to_num(1.0, 1.0).clamp_max(1.0)), options.alpha)
      .to(prompt.scalar_type());
}

}  // namespace

at::Tensor guided(at::Tensor out, const GuidedCall& call, AttentionScope& scope) {
  const GuidedRows& guided = *scope.guided();
  const auto found =
      std::lower_bound(guided.apart.begin(), guided.apart.end(), call.layer,
                       [](const LayerKeys& keys, int64_t layer) { return keys.layer < layer; });
  const LayerKeys* apart =
      found != guided.apart.end() && found->layer == call.layer ? std::to_address(found) : nullptr;
  const ImageTokens image = image_tokens(guided, call.query.size(-2), call.key.size(-2), apart);
  if (image.count == 0) return out;
  GLINT_CHECK(out.dim() == 4 && out.size(0) == guided.rows, BadModel,
              "nag: expected attention over a batch of {} rows, got {}", guided.rows,
              shape_string(out.sizes()));
  scope.count_guided();
  const at::Tensor plain = out;  // backward needs it as it is
  if (c10::GradMode::is_enabled() && out.requires_grad()) out = out.clone();
  const auto tokens = [&](const at::Tensor& x, int64_t row) {
    return x.narrow(0, row, guided.samples).narrow(2, image.first, image.count);
  };
  for (const auto& [prompt, negative] : guided.pairs) {
    const auto of_negative = [&, prompt = prompt, negative = negative] {
      if (!apart) return tokens(plain, negative);
      const auto rows = [&](const at::Tensor& x, int64_t first) {
        return x.narrow(0, first, guided.samples);
      };
      return at::scaled_dot_product_attention(rows(call.query, prompt), rows(apart->keys, negative),
                                              rows(apart->values, negative), {}, 0.0, false, call.scale);
    };
    const at::Tensor result = normalized(tokens(plain, prompt), of_negative(), guided.options);
    tokens(out, prompt).copy_(result);
    if (!apart) tokens(out, negative).copy_(result);
  }
  return out;
}

}  // namespace glint::ops
