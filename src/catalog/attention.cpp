#include "catalog/entries.hpp"

#include <glint/attention/policy_options.hpp>

namespace glint {
namespace {

template <AttentionKind kind>
AttentionPolicy make_policy(const PolicyOptions<kind>& options) {
  return options;
}

constexpr EntryInfo kDense{.kind = "attention",
                           .name = "dense",
                           .summary = "attention as the network was exported",
                           .cost = "no change",
                           .source = "scaled_dot_product_attention",
                           .goal = Goal::Speed};
constexpr EntryInfo kPisa{.kind = "attention",
                          .name = "pisa",
                          .summary = "exact attention to the best key blocks, a Taylor expansion of the rest",
                          .cost = "at least density + 1/block_size + head size/tokens of dense attention",
                          .source = "xie-lab-ml/piecewise-sparse-attention, 2026; its defaults for FLUX",
                          .goal = Goal::Speed};
constexpr EntryInfo kIsa{
    .kind = "attention",
    .name = "isa",
    .summary = "for in-context editing: keeps few context blocks, approximates diffuse queries",
    .cost = "at least 0.3 of dense attention at the defaults",
    .source = "xie-lab-ml/Lightning-Unified-Video-Editor-via-In-Context-Sparse-Attention, 2026",
    .goal = Goal::Speed};

}  // namespace

void detail::add_attention(Registry& registry) {
  registry.add<PolicyOptions<AttentionKind::Dense>>(kDense, make_policy<AttentionKind::Dense>);
  registry.add<PolicyOptions<AttentionKind::Pisa>>(kPisa, make_policy<AttentionKind::Pisa>);
  registry.add<PolicyOptions<AttentionKind::Isa>>(kIsa, make_policy<AttentionKind::Isa>);
  registry.add<NormalizedGuidance>([](const NormalizedGuidance& options) {
    check_ranges(NormalizedGuidance::info.name, options);
    return options;
  });
}

}  // namespace glint
