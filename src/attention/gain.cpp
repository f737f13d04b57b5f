#include <glint/attention/gain.hpp>

#include <algorithm>
#include <cmath>

namespace glint {
namespace {

double pisa_share(const PisaOptions& o, const AttentionCall& call) {
  const auto b = static_cast<double>(o.block_size), keys = static_cast<double>(call.keys);
  const double blocks = std::ceil(keys / b);
  const double exact = std::clamp(std::trunc(o.density * blocks), 1.0, blocks) / blocks;
  const double half = static_cast<double>(call.head_size) / keys / 2.0;
  const bool first_order = o.order != TaylorOrder::Zeroth;
  const bool moments = first_order || o.selection == BlockSelection::Covariance;
  return exact + 1.0 / b + half * (first_order + moments) + 0.5 / (b * b);
}

double isa_share(const IsaOptions& o, const AttentionCall& call) {
  constexpr double b = 64.0;
  const auto tokens = static_cast<double>(call.keys);
  const auto main = static_cast<double>(main_tokens(o, call.keys));
  const double kept = (main + b * std::floor(o.context_keep * std::ceil((tokens - main) / b))) / tokens;
  return kept * (o.sharp_share + (1.0 - o.sharp_share) * (o.density + 1.0 / b)) + 1.0 / (b * b);
}

}  // namespace

double gain_bound(const AttentionPolicy& policy, const AttentionCall& call) {
  switch (call.kind) {
    case AttentionKind::Dense: break;
    case AttentionKind::Pisa: return std::max(1.0, 1.0 / pisa_share(policy.pisa, call));
    case AttentionKind::Isa: return std::max(1.0, 1.0 / isa_share(policy.isa, call));
  }
  return 1.0;
}

}  // namespace glint
