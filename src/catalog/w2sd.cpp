#include "catalog/entries.hpp"
#include "catalog/w2sd_options.hpp"

namespace glint {

detail::W2sdSides detail::sides_of(const W2sdOptions& o, const BuildContext& context) {
  const auto model = [&](const std::string& name) {
    return name.empty() ? nullptr : context.model_for(o.info.name, name);
  };
  const auto cond = [&](const std::optional<std::string>& prompt) -> std::optional<Conditioning> {
    if (!prompt) return std::nullopt;
    return context.encoded(o.info.name, *prompt);
  };
  W2sdSides sides{.strong = W2sdSide{.model = model(o.strong_model),
                                     .adapter = o.adapter,
                                     .adapter_scale = o.strong_adapter,
                                     .cond = cond(o.strong_prompt),
                                     .guidance = o.strong_guidance},
                  .weak = W2sdSide{.model = model(o.weak_model),
                                   .adapter = o.other_adapter.empty() ? o.adapter : o.other_adapter,
                                   .adapter_scale = o.weak_adapter,
                                   .cond = {},
                                   .guidance = o.weak_guidance}};
  sides.weak.cond = o.weak_prompt == o.strong_prompt ? sides.strong.cond : cond(o.weak_prompt);
  return sides;
}

namespace {

Product make_w2sd(const detail::W2sdOptions& o, const BuildContext& context) {
  check_ranges(o.info.name, o);
  const auto [strong, weak] = detail::sides_of(o, context);
  return w2sd(strong, weak, o.reflect, o.branches);
}

}  // namespace

void detail::add_w2sd(Registry& registry) { registry.add<W2sdOptions>(make_w2sd); }

}  // namespace glint
