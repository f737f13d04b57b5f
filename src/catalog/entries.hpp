// Registers the entries built from a bundle's components, one file each.
#pragma once

#include <glint/catalog/registry.hpp>

namespace glint::detail {

inline constexpr Field kTextRowsField{.help =
                                          "which part of the prompts' SVD a network of the released "
                                          "architecture reads; default: what it was trained with"};

void add_attention(Registry& registry);
void add_autoguidance(Registry& registry);
void add_core2(Registry& registry);
void add_golden_noise(Registry& registry);
void add_perturbation(Registry& registry);
void add_reflect(Registry& registry);
void add_reward_selection(Registry& registry);
void add_w2sd(Registry& registry);
void add_z_core2(Registry& registry);

}  // namespace glint::detail
