// The options of each attention policy, with their ranges.
#pragma once

#include <glint/attention/policy.hpp>
#include <glint/core/options.hpp>
#include <glint/export.hpp>

namespace glint {

template <>
struct EnumNames<TaylorOrder> {
  static constexpr std::array<std::string_view, 3> values{"zeroth", "hybrid", "first"};
};
template <>
struct EnumNames<BlockSelection> {
  static constexpr std::array<std::string_view, 3> values{"mean", "covariance", "variance"};
};
template <>
struct EnumNames<AttentionKind> {
  static constexpr std::array<std::string_view, 3> values{"dense", "pisa", "isa"};
};

/// A policy of one kind, exposing only that kind's options.
template <AttentionKind kind_>
struct PolicyOptions : AttentionPolicy {
  PolicyOptions() { kind = kind_; }
  explicit PolicyOptions(const AttentionPolicy& policy) : AttentionPolicy(policy) {}

  template <typename Visit, typename Self>
  static void fields(Visit&& visit, Self& o) {
    if constexpr (kind_ == AttentionKind::Pisa) {
      visit("density", o.pisa.density,
            {.help = "fraction of key blocks computed exactly; 1 = dense", .minimum = 0, .maximum = 1});
      visit("order", o.pisa.order, {.help = "approximation of the remaining blocks"});
      visit("selection", o.pisa.selection, {.help = "how key blocks are ranked"});
      visit("block_size", o.pisa.block_size,
            {.help = "block size of keys and queries", .minimum = 1, .maximum = 256, .unit = "tokens"});
    }
    if constexpr (kind_ == AttentionKind::Isa) {
      visit("main_length", o.isa.main_length,
            {.help = "tokens before the context; 0 = half", .minimum = 0, .maximum = 1e9, .unit = "tokens"});
      visit("density", o.isa.density,
            {.help = "fraction of key blocks computed exactly for diffuse queries",
             .minimum = 0,
             .maximum = 1});
      visit("context_keep", o.isa.context_keep,
            {.help = "fraction of context blocks kept", .minimum = 0, .maximum = 1});
      visit("sharp_share", o.isa.sharp_share,
            {.help = "fraction of query blocks that read every kept key", .minimum = 0, .maximum = 1});
    }
    if constexpr (kind_ != AttentionKind::Dense) {
      visit("first_dense_layers", o.first_dense_layers,
            {.help = "first layers that stay dense", .minimum = 0, .maximum = 1e6, .unit = "layers"});
      visit("min_tokens", o.min_tokens,
            {.help = "shorter sequences stay dense", .minimum = 1, .maximum = 1e9, .unit = "tokens"});
      StepWindow::fields(visit, o.window, "first sparse step", "end of the sparse steps, exclusive");
      visit("reorder", o.reorder, {.help = "group image tokens into patches, if the network supports it"});
    }
  }
};

/// Throws InvalidArgument, naming `owner`attention and the field, unless every field is in range.
GLINT_API void check_attention(std::string_view owner, const AttentionPolicy& policy);

}  // namespace glint
