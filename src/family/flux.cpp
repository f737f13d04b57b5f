// FLUX.1.
#include "family/family.hpp"

namespace glint::families {

Family flux() {
  return {
      .name = "flux",
      .encoders = 2,
      .text =
          TextLayout{.side_by_side = {1}, .pooled = {0}, .free_length = 1, .inputs = {"tokens", "pooled"}},
      .text_tokens = TextTokens::First,
      .layer_names = {
          {"double_blocks_#_img_attn_qkv",
           "transformer_blocks_#_attn_to_q|transformer_blocks_#_attn_to_k|"
           "transformer_blocks_#_attn_to_v"},
          {"double_blocks_#_txt_attn_qkv",
           "transformer_blocks_#_attn_add_q_proj|transformer_blocks_#_attn_add_k_proj|"
           "transformer_blocks_#_attn_add_v_proj"},
          {"double_blocks_#_img_attn_proj", "transformer_blocks_#_attn_to_out_0"},
          {"double_blocks_#_txt_attn_proj", "transformer_blocks_#_attn_to_add_out"},
          {"double_blocks_#_img_mlp_0", "transformer_blocks_#_ff_net_0_proj"},
          {"double_blocks_#_img_mlp_2", "transformer_blocks_#_ff_net_2"},
          {"double_blocks_#_txt_mlp_0", "transformer_blocks_#_ff_context_net_0_proj"},
          {"double_blocks_#_txt_mlp_2", "transformer_blocks_#_ff_context_net_2"},
          {"double_blocks_#_img_mod_lin", "transformer_blocks_#_norm1_linear"},
          {"double_blocks_#_txt_mod_lin", "transformer_blocks_#_norm1_context_linear"},
          {"single_blocks_#_linear1",
           "single_transformer_blocks_#_attn_to_q|single_transformer_blocks_#_attn_to_k|"
           "single_transformer_blocks_#_attn_to_v|single_transformer_blocks_#_proj_mlp"},
          {"single_blocks_#_linear2", "single_transformer_blocks_#_proj_out"},
          {"single_blocks_#_modulation_lin", "single_transformer_blocks_#_norm_linear"},
          {"double_blocks_#_img_attn_norm_query_norm", "transformer_blocks_#_attn_norm_q"},
          {"double_blocks_#_img_attn_norm_key_norm", "transformer_blocks_#_attn_norm_k"},
          {"double_blocks_#_txt_attn_norm_query_norm", "transformer_blocks_#_attn_norm_added_q"},
          {"double_blocks_#_txt_attn_norm_key_norm", "transformer_blocks_#_attn_norm_added_k"},
          {"single_blocks_#_norm_query_norm", "single_transformer_blocks_#_attn_norm_q"},
          {"single_blocks_#_norm_key_norm", "single_transformer_blocks_#_attn_norm_k"},
          // XLabs' attention processors: 1 is for the picture's tokens, 2 for the text's.
          {"double_blocks_#_qkv_lora1",
           "transformer_blocks_#_attn_to_q|transformer_blocks_#_attn_to_k|"
           "transformer_blocks_#_attn_to_v"},
          {"double_blocks_#_qkv_lora2",
           "transformer_blocks_#_attn_add_q_proj|transformer_blocks_#_attn_add_k_proj|"
           "transformer_blocks_#_attn_add_v_proj"},
          {"double_blocks_#_proj_lora1", "transformer_blocks_#_attn_to_out_0"},
          {"double_blocks_#_proj_lora2", "transformer_blocks_#_attn_to_add_out"},
          {"single_blocks_#_qkv",
           "single_transformer_blocks_#_attn_to_q|single_transformer_blocks_#_attn_to_k|"
           "single_transformer_blocks_#_attn_to_v"},
          {"single_blocks_#_proj", "single_transformer_blocks_#_proj_out"},
          {"img_in", "x_embedder"},
          {"txt_in", "context_embedder"},
          {"time_in_in_layer", "time_text_embed_timestep_embedder_linear_1"},
          {"time_in_out_layer", "time_text_embed_timestep_embedder_linear_2"},
          {"vector_in_in_layer", "time_text_embed_text_embedder_linear_1"},
          {"vector_in_out_layer", "time_text_embed_text_embedder_linear_2"},
          {"guidance_in_in_layer", "time_text_embed_guidance_embedder_linear_1"},
          {"guidance_in_out_layer", "time_text_embed_guidance_embedder_linear_2"},
          {"final_layer_adaLN_modulation_1", "norm_out_linear", /*shift_first=*/true},
          {"final_layer_linear", "proj_out"},
      }};
}

}  // namespace glint::families
