// The strategy `reflect`: a reflection whose predictors may differ in every way at once.
#include "catalog/entries.hpp"
#include "catalog/w2sd_options.hpp"

#include <glint/step/rf_sampling.hpp>

namespace glint {
namespace {

struct ReflectEntry {
  static constexpr EntryInfo info{
      .kind = "step",
      .name = "reflect",
      .summary =
          "reflection between predictors that differ in any mix of model, adapter, guidance and prompt",
      .cost = "N G + T S (G_strong + G_weak) rows, S = sum of min(span, N-1-i) over active steps i",
      .source = "Bai et al. 2025, arXiv:2502.00473"};

  detail::W2sdOptions sides = {};
  double forward_scale = 0.0,
         forward_null_mix = 0.0;  ///< strong predictor's token embeddings, see RfSamplingOptions
  double inverse_scale = 0.0, inverse_null_mix = 0.0;  ///< the weak predictor's
  UncondEmbedding uncond = UncondEmbedding::Faithful;

  static void fields(auto& visit, auto& o) {
    detail::W2sdOptions::fields(visit, o.sides);
    const Field mix{.help = "as in rf-sampling", .minimum = -100, .maximum = 100};
    visit("forward_scale", o.forward_scale, mix);
    visit("forward_null_mix", o.forward_null_mix, mix);
    visit("inverse_scale", o.inverse_scale, mix);
    visit("inverse_null_mix", o.inverse_null_mix, mix);
    visit("uncond", o.uncond, Field{.help = "which unconditional embedding to mix in"});
  }
};

/// Returns a reflection whose predictors differ in any mix of model, adapter, prompt, guidance and token
/// embeddings; to first order the gaps add up. legacy=true is as for W2SD.
/// Cost:    N G + T S (G_strong + G_weak) rows.
/// Errors:  those of W2SD, except that identical predictors are allowed: they measure the reflection's own
///          drift.
Product make_reflect(const ReflectEntry& o, const BuildContext& context) {
  constexpr std::string_view kName = ReflectEntry::info.name;
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

void detail::add_reflect(Registry& registry) { registry.add<ReflectEntry>(make_reflect); }

}  // namespace glint
