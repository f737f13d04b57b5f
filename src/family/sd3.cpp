// Stable Diffusion 3 and 3.5.
#include "family/family.hpp"

namespace glint::families {

Family sd3() {
  return {.name = "sd3",
          .encoders = 3,
          .text = TextLayout{.side_by_side = {0, 1},
                             .behind = 2,
                             .pooled = {0, 1},
                             .clip_skip = true,
                             .free_length = 2,
                             .inputs = {"tokens", "pooled"}},
          .text_tokens = TextTokens::Last,
          .layer_names = {
              {"joint_blocks_#_x_block_attn_qkv",
               "transformer_blocks_#_attn_to_q|transformer_blocks_#_attn_to_k|"
               "transformer_blocks_#_attn_to_v"},
              {"joint_blocks_#_x_block_attn2_qkv",
               "transformer_blocks_#_attn2_to_q|transformer_blocks_#_attn2_to_k|"
               "transformer_blocks_#_attn2_to_v"},
              {"joint_blocks_#_context_block_attn_qkv",
               "transformer_blocks_#_attn_add_q_proj|transformer_blocks_#_attn_add_k_proj|"
               "transformer_blocks_#_attn_add_v_proj"},
              {"joint_blocks_#_x_block_attn_proj", "transformer_blocks_#_attn_to_out_0"},
              {"joint_blocks_#_x_block_attn2_proj", "transformer_blocks_#_attn2_to_out_0"},
              {"joint_blocks_#_context_block_attn_proj", "transformer_blocks_#_attn_to_add_out"},
              {"joint_blocks_#_x_block_attn_ln_q", "transformer_blocks_#_attn_norm_q"},
              {"joint_blocks_#_x_block_attn_ln_k", "transformer_blocks_#_attn_norm_k"},
              {"joint_blocks_#_x_block_attn2_ln_q", "transformer_blocks_#_attn2_norm_q"},
              {"joint_blocks_#_x_block_attn2_ln_k", "transformer_blocks_#_attn2_norm_k"},
              {"joint_blocks_#_context_block_attn_ln_q", "transformer_blocks_#_attn_norm_added_q"},
              {"joint_blocks_#_context_block_attn_ln_k", "transformer_blocks_#_attn_norm_added_k"},
              {"joint_blocks_#_x_block_mlp_fc1", "transformer_blocks_#_ff_net_0_proj"},
              {"joint_blocks_#_x_block_mlp_fc2", "transformer_blocks_#_ff_net_2"},
              {"joint_blocks_#_context_block_mlp_fc1", "transformer_blocks_#_ff_context_net_0_proj"},
              {"joint_blocks_#_context_block_mlp_fc2", "transformer_blocks_#_ff_context_net_2"},
              {"joint_blocks_#_x_block_adaLN_modulation_1", "transformer_blocks_#_norm1_linear"},
              {"joint_blocks_#_context_block_adaLN_modulation_1", "transformer_blocks_#_norm1_context_linear",
               /*shift_first=*/true},
              {"x_embedder_proj", "pos_embed_proj"},
              {"t_embedder_mlp_0", "time_text_embed_timestep_embedder_linear_1"},
              {"t_embedder_mlp_2", "time_text_embed_timestep_embedder_linear_2"},
              {"y_embedder_mlp_0", "time_text_embed_text_embedder_linear_1"},
              {"y_embedder_mlp_2", "time_text_embed_text_embedder_linear_2"},
              {"final_layer_adaLN_modulation_1", "norm_out_linear", /*shift_first=*/true},
              {"final_layer_linear", "proj_out"},
          }};
}

}  // namespace glint::families
