// The reflection under its own name: every way its predictors can differ, in one strategy.
#include "catalog/entries.hpp"
#include "catalog/w2sd_options.hpp"

#include <glint/step/rf_sampling.hpp>

namespace glint {
namespace {

struct Options {
  static constexpr EntryInfo info{
      .kind = "step",
      .name = "reflect",
      .summary =
          "the reflection itself, its sides differing in any mixture of model, adapter, guidance and prompt",
      .cost = "N G + T S (G_strong + G_weak) rows, S = sum of min(span, N-1-i) over active steps i",
      .source = "Bai et al. 2025, arXiv:2502.00473"};

  detail::W2sdOptions sides = {};
  double forward_scale = 0.0,
         forward_null_mix = 0.0;  ///< token embeddings of the strong predictor, see RfSamplingOptions
  double inverse_scale = 0.0, inverse_null_mix = 0.0;  ///< and of the weak predictor
  UncondEmbedding uncond = UncondEmbedding::Faithful;

  static void fields(auto& visit, auto& o) {
    detail::W2sdOptions::fields(visit, o.sides);
    const Field mix{.help = "as in rf-sampling", .minimum = -100, .maximum = 100};
    visit("forward_scale", o.forward_scale, mix);
    visit("forward_null_mix", o.forward_null_mix, mix);
    visit("inverse_scale", o.inverse_scale, mix);
    visit("inverse_null_mix", o.inverse_null_mix, mix);
    visit("uncond", o.uncond, Field{.help = "the unconditional embedding of the mix"});
  }
};

/// Returns a reflection whose predictors differ in any mixture of model, adapter, prompt, guidance and token
/// embeddings; the gaps add up to first order. legacy=true is that of W2sd.
/// Cost:    N G + T S (G_strong + G_weak) rows.
/// Errors:  those of W2sd but one: predictors that do not differ are allowed, and measure the drift of the
///          reflection itself.
Product make(const Options& o, const BuildContext& context) {
  constexpr std::string_view kName = Options::info.name;
  check_ranges(kName, o);
  const ReflectOptions& options = o.sides.reflect;
  const Branches branches = options.legacy ? Branches::LegacyBoth : o.sides.branches;
  const auto [own_strong, own_weak] = detail::sides_of(o.sides, context);
  PredictorChange strong = with_side(own_strong, branches), weak = with_side(own_weak, branches);
  if (o.forward_scale != 0.0)
    strong = strong | with_mixed_tokens(o.forward_scale, o.forward_null_mix, o.uncond);
  if (o.inverse_scale != 0.0) weak = weak | with_mixed_tokens(o.inverse_scale, o.inverse_null_mix, o.uncond);
  return reflection(std::string(kName), strong, weak, with_legacy_inversion(kName, options));
}

}  // namespace

void detail::add_reflect(Registry& registry) { registry.add<Options>(make); }

}  // namespace glint
