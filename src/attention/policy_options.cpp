#include <glint/attention/policy_options.hpp>

namespace glint {
namespace {

template <AttentionKind kind>
void check(std::string_view owner, const AttentionPolicy& policy) {
  check_ranges(message("{}attention.{}", owner, enum_name(kind)), PolicyOptions<kind>(policy));
}

}  // namespace

void check_attention(std::string_view owner, const AttentionPolicy& policy) {
  switch (policy.kind) {
    case AttentionKind::Dense: return;
    case AttentionKind::Pisa: return check<AttentionKind::Pisa>(owner, policy);
    case AttentionKind::Isa: return check<AttentionKind::Isa>(owner, policy);
  }
}

}  // namespace glint
