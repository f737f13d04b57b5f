// Token-degraded guidance (TDG): guidance away from the prompt with half its tokens replaced.
#pragma once

#include <glint/core/rng.hpp>
#include <glint/guidance/difference_rule.hpp>

#ifndef GLINT_CORE_ONLY
#include <glint/core/host_macros_off.hpp>

#include <ATen/ops/where.h>

#include <glint/core/host_macros_on.hpp>
#endif

#include <cstdint>

namespace glint {

/// Which part of the embedding to degrade.
enum class TdgDegrade { Tokens, Channels };
template <>
struct EnumNames<TdgDegrade> {
  static constexpr std::array<std::string_view, 2> values{"tokens", "channels"};
};

struct TdgOptions {
  double scale = 5.5;
  double gamma = 1.8;
  double beta = 2.6;
  TdgDegrade degrade = TdgDegrade::Tokens;
  int seed = 0;

  static void fields(auto& visit, auto& o) {
    visit("scale", o.scale, kScaleField);
    visit("gamma", o.gamma,
          Field{.help = "multiplies the scale; SDXL: 1.8, SD3.5: 1.6", .minimum = 0, .maximum = 100});
    visit("beta", o.beta,
          Field{.help =
                    "weight of the unconditional branch relative to the degraded one; SDXL: 2.6, SD3.5: 2.4",
                .minimum = 0,
                .maximum = 1000});
    visit("degrade", o.degrade,
          Field{.help = "replace token positions (paper), or channels (released SDXL code)"});
    visit("seed", o.seed, Field{.help = "seed for the choice of positions", .minimum = 0, .maximum = 2e9});
  }
};

/// Predicts r (c-k) g/(beta+1) + (c-u) g beta/(beta+1) + (k+u)/2, where g = w gamma, r = |c-u|/|c-k| and k is
/// the prediction for the prompt with half its token embeddings replaced by the negative prompt's. CFG at
/// scale g where c = k.
/// Cost:    3 rows per sample and step.
/// Source:  arXiv:2602.22570 and its released code.   Random: positions from `seed`, the same at every step.
class Tdg final : public GuidanceRule {
 public:
  using Options = TdgOptions;
  static constexpr EntryInfo info{
      .kind = "rule",
      .name = "tdg",
      .summary = "guidance away from both the unconditional and a degraded prompt",
      .cost = "3 N rows",
      .source = "arXiv:2602.22570"};

  explicit Tdg(TdgOptions options = {})
      : options_(options), weak_{.condition = [o = options](const Prompt& p) { return degraded(p, o); }} {
    check_ranges(info.name, options);
  }

  BranchSet branches(const StepPosition&) const override {
    return {.cond = true, .uncond = true, .weak = true};
  }
  const WeakBranch* weak_branch() const override { return &weak_; }

  at::Tensor combine(const BranchOutputs& o, const GuidanceStep&, GuidanceState*) const override {
    const double g = options_.scale * options_.gamma, share = 1.0 / (options_.beta + 1.0);
    const at::Tensor to_uncond = o.cond.sub(o.uncond), to_weak = o.cond.sub(o.weak);
    const at::Tensor length = per_sample::norm(to_weak);
    const at::Tensor same = length.le(1e-12);
    const at::Tensor r = per_sample::ratio(per_sample::norm(to_uncond), length, 0.0, 1e-12);
    const at::Tensor rule = per_sample::scaled(to_weak, r.mul(g * share))
                                .add_(to_uncond, g * (1.0 - share))
                                .add_(o.weak.add(o.uncond), 0.5);
    return at::where(per_sample::broadcast(same, rule).to(at::kBool), o.uncond.add(to_uncond, g), rule);
  }

  /// Returns the prompt with half its token positions, or half the channels of its tokens and pooled
  /// embedding, taken from the negative prompt.
  static Conditioning degraded(const Prompt& prompt, const TdgOptions& options) {
    const at::Tensor& c = prompt.cond.tokens;
    GLINT_CHECK(c.defined() && prompt.uncond.tokens.defined() && prompt.uncond.tokens.sizes() == c.sizes(),
                InvalidArgument,
                "tdg: needs token embeddings of the prompt and of the negative prompt in one shape");
    NoiseStream stream(static_cast<uint64_t>(options.seed), 1);
    const auto half_replaced = [&](const at::Tensor& own, const at::Tensor& uncond, int64_t dim) {
      // A random half: the positions with the smallest draws.
      const int64_t count = own.size(dim);
      const at::Tensor order = stream.normal({count}).squeeze(0).argsort().slice(0, 0, count / 2);
      const at::Tensor chosen = order.to(own.device());
      return own.index_copy(dim, chosen, uncond.index_select(dim, chosen));
    };
    const bool channels = options.degrade == TdgDegrade::Channels;
    Conditioning result = prompt.cond;
    result.tokens = half_replaced(c, prompt.uncond.tokens, channels ? 2 : 1);
    if (channels && result.pooled.defined() && prompt.uncond.pooled.defined())
      result.pooled = half_replaced(result.pooled, prompt.uncond.pooled, 1);
    return result;
  }

 private:
  TdgOptions options_;
  WeakBranch weak_;
};

}  // namespace glint
