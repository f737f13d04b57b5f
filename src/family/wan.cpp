// Wan 2.1.
#include "family/family.hpp"

namespace glint::families {

Family wan() {
  return {.name = "wan",
          .text = TextLayout{.side_by_side = {0}, .free_length = 0, .inputs = {"tokens"}},
          .text_tokens = TextTokens::Cross,
          .layer_names = {
              {"blocks_#_self_attn_q", "blocks_#_attn1_to_q"},
              {"blocks_#_self_attn_k", "blocks_#_attn1_to_k"},
              {"blocks_#_self_attn_v", "blocks_#_attn1_to_v"},
              {"blocks_#_self_attn_o", "blocks_#_attn1_to_out_0"},
              {"blocks_#_cross_attn_q", "blocks_#_attn2_to_q"},
              {"blocks_#_cross_attn_k", "blocks_#_attn2_to_k"},
              {"blocks_#_cross_attn_v", "blocks_#_attn2_to_v"},
              {"blocks_#_cross_attn_o", "blocks_#_attn2_to_out_0"},
              {"blocks_#_cross_attn_k_img", "blocks_#_attn2_add_k_proj"},
              {"blocks_#_cross_attn_v_img", "blocks_#_attn2_add_v_proj"},
              {"blocks_#_self_attn_norm_q", "blocks_#_attn1_norm_q"},
              {"blocks_#_self_attn_norm_k", "blocks_#_attn1_norm_k"},
              {"blocks_#_cross_attn_norm_q", "blocks_#_attn2_norm_q"},
              {"blocks_#_cross_attn_norm_k", "blocks_#_attn2_norm_k"},
              {"blocks_#_norm3", "blocks_#_norm2"},
              {"blocks_#_modulation", "blocks_#_scale_shift_table"},
              {"blocks_#_ffn_0", "blocks_#_ffn_net_0_proj"},
              {"blocks_#_ffn_2", "blocks_#_ffn_net_2"},
              {"text_embedding_0", "condition_embedder_text_embedder_linear_1"},
              {"text_embedding_2", "condition_embedder_text_embedder_linear_2"},
              {"time_embedding_0", "condition_embedder_time_embedder_linear_1"},
              {"time_embedding_2", "condition_embedder_time_embedder_linear_2"},
              {"time_projection_1", "condition_embedder_time_proj"},
              {"head_head", "proj_out"},
              {"head_modulation", "scale_shift_table"},
          }};
}

}  // namespace glint::families
