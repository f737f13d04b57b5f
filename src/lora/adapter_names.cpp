#include "lora/adapter_names.hpp"

#include <glint/core/error.hpp>
#include <glint/core/tensor.hpp>

#include <algorithm>
#include <array>
#include <charconv>

namespace glint::detail {
namespace {

struct Prefix {
  std::string_view text, component;
};
constexpr std::array kPrefixes{
    Prefix{"unet.", "denoiser"},
    Prefix{"transformer.", "denoiser"},
    Prefix{"model.diffusion_model.", "denoiser"},
    Prefix{"diffusion_model.", "denoiser"},
    Prefix{"lora_unet_", "denoiser"},
    Prefix{"lora_transformer_", "denoiser"},
    Prefix{"text_encoder.", "text_encoder"},
    Prefix{"text_encoder_2.", "text_encoder_2"},
    Prefix{"text_encoder_3.", "text_encoder_3"},
    Prefix{"lora_te_", "text_encoder"},
    Prefix{"lora_te1_", "text_encoder"},
    Prefix{"lora_te2_", "text_encoder_2"},
    Prefix{"lora_te3_", "text_encoder_3"},
};

struct Ending {
  std::string_view text;
  AdapterPart part;
};
constexpr std::array kEndings{
    Ending{".lora_A", AdapterPart::Down},
    Ending{".lora_B", AdapterPart::Up},
    Ending{".lora_down", AdapterPart::Down},
    Ending{".lora_up", AdapterPart::Up},
    Ending{".lora.down", AdapterPart::Down},
    Ending{".lora.up", AdapterPart::Up},
    Ending{".lora_linear_layer.down", AdapterPart::Down},
    Ending{".lora_linear_layer.up", AdapterPart::Up},
    Ending{"_lora.down", AdapterPart::Down},
    Ending{"_lora.up", AdapterPart::Up},
};

/// A name of a published checkpoint and the diffusers model's; # is the same number in both, | divides fused weights.
struct Translation {
  std::string_view published, ours;
};
constexpr std::array kTranslations{
    // FLUX
    Translation{"double_blocks_#_img_attn_qkv",
                "transformer_blocks_#_attn_to_q|transformer_blocks_#_attn_to_k|"
                "transformer_blocks_#_attn_to_v"},
    Translation{"double_blocks_#_txt_attn_qkv",
                "transformer_blocks_#_attn_add_q_proj|transformer_blocks_#_attn_add_k_proj|"
                "transformer_blocks_#_attn_add_v_proj"},
    Translation{"double_blocks_#_img_attn_proj", "transformer_blocks_#_attn_to_out_0"},
    Translation{"double_blocks_#_txt_attn_proj", "transformer_blocks_#_attn_to_add_out"},
    Translation{"double_blocks_#_img_mlp_0", "transformer_blocks_#_ff_net_0_proj"},
    Translation{"double_blocks_#_img_mlp_2", "transformer_blocks_#_ff_net_2"},
    Translation{"double_blocks_#_txt_mlp_0", "transformer_blocks_#_ff_context_net_0_proj"},
    Translation{"double_blocks_#_txt_mlp_2", "transformer_blocks_#_ff_context_net_2"},
    Translation{"double_blocks_#_img_mod_lin", "transformer_blocks_#_norm1_linear"},
    Translation{"double_blocks_#_txt_mod_lin", "transformer_blocks_#_norm1_context_linear"},
    Translation{"single_blocks_#_linear1",
                "single_transformer_blocks_#_attn_to_q|single_transformer_blocks_#_attn_to_k|"
                "single_transformer_blocks_#_attn_to_v|single_transformer_blocks_#_proj_mlp"},
    Translation{"single_blocks_#_linear2", "single_transformer_blocks_#_proj_out"},
    Translation{"single_blocks_#_modulation_lin", "single_transformer_blocks_#_norm_linear"},
    Translation{"img_in", "x_embedder"},
    Translation{"txt_in", "context_embedder"},
    Translation{"time_in_in_layer", "time_text_embed_timestep_embedder_linear_1"},
    Translation{"time_in_out_layer", "time_text_embed_timestep_embedder_linear_2"},
    Translation{"vector_in_in_layer", "time_text_embed_text_embedder_linear_1"},
    Translation{"vector_in_out_layer", "time_text_embed_text_embedder_linear_2"},
    Translation{"guidance_in_in_layer", "time_text_embed_guidance_embedder_linear_1"},
    Translation{"guidance_in_out_layer", "time_text_embed_guidance_embedder_linear_2"},
    Translation{"final_layer_linear", "proj_out"},
    // Wan
    Translation{"blocks_#_self_attn_q", "blocks_#_attn1_to_q"},
    Translation{"blocks_#_self_attn_k", "blocks_#_attn1_to_k"},
    Translation{"blocks_#_self_attn_v", "blocks_#_attn1_to_v"},
    Translation{"blocks_#_self_attn_o", "blocks_#_attn1_to_out_0"},
    Translation{"blocks_#_cross_attn_q", "blocks_#_attn2_to_q"},
    Translation{"blocks_#_cross_attn_k", "blocks_#_attn2_to_k"},
    Translation{"blocks_#_cross_attn_v", "blocks_#_attn2_to_v"},
    Translation{"blocks_#_cross_attn_o", "blocks_#_attn2_to_out_0"},
    Translation{"blocks_#_ffn_0", "blocks_#_ffn_net_0_proj"},
    Translation{"blocks_#_ffn_2", "blocks_#_ffn_net_2"},
    Translation{"text_embedding_0", "condition_embedder_text_embedder_linear_1"},
    Translation{"text_embedding_2", "condition_embedder_text_embedder_linear_2"},
    Translation{"time_embedding_0", "condition_embedder_time_embedder_linear_1"},
    Translation{"time_embedding_2", "condition_embedder_time_embedder_linear_2"},
    Translation{"time_projection_1", "condition_embedder_time_proj"},
    Translation{"head_head", "proj_out"},
    // SDXL, outside of its blocks
    Translation{"input_blocks_0_0", "conv_in"},
    Translation{"out_2", "conv_out"},
    Translation{"time_embed_0", "time_embedding_linear_1"},
    Translation{"time_embed_2", "time_embedding_linear_2"},
    Translation{"label_emb_0_0", "add_embedding_linear_1"},
    Translation{"label_emb_0_2", "add_embedding_linear_2"},
};

/// Parts of SDXL's residual blocks.
constexpr std::array kResidualParts{
    Translation{"in_layers_2", "conv1"},
    Translation{"out_layers_3", "conv2"},
    Translation{"emb_layers_1", "time_emb_proj"},
    Translation{"skip_connection", "conv_shortcut"},
};

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

std::string flat(std::string_view name) { return replaced(std::string(name), ".", "_"); }

/// Takes a number and the underscore after it from the front.
std::optional<int> take_number(std::string_view& text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || number < 0) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  if (!text.empty()) {
    if (text.front() != '_') return std::nullopt;
    text.remove_prefix(1);
  }
  return number;
}

/// What `pattern` has in place of #, if the text is of that form; empty if it has none.
std::optional<std::string> number_in(std::string_view pattern, std::string_view text) {
  const size_t hash = pattern.find('#');
  if (hash == std::string_view::npos) return pattern == text ? std::optional<std::string>("") : std::nullopt;
  const std::string_view before = pattern.substr(0, hash), after = pattern.substr(hash + 1);
  if (text.size() <= before.size() + after.size() || !text.starts_with(before) || !text.ends_with(after))
    return std::nullopt;
  const std::string_view number = text.substr(before.size(), text.size() - before.size() - after.size());
  if (number.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  return std::string(number);
}

std::vector<std::string> translated(std::string_view layer) {
  for (const auto& [published, ours] : kTranslations) {
    const auto number = number_in(published, layer);
    if (!number) continue;
    std::vector<std::string> names;
    const std::string all = replaced(std::string(ours), "#", *number);
    for (size_t begin = 0; begin <= all.size();) {
      const size_t end = std::min(all.find('|', begin), all.size());
      names.push_back(all.substr(begin, end - begin));
      begin = end + 1;
    }
    return names;
  }
  return {};
}

/// The part of a UNet's block that the published checkpoint calls `rest` of its member number `member`.
std::string unet_part(int member, int layer, std::string_view rest, std::string_view sampler) {
  if (rest == "op" || rest == "conv") return fmt::format("{}_0_conv", sampler);
  if (member > 0) return fmt::format("attentions_{}_{}", layer, rest);
  for (const auto& [published, ours] : kResidualParts)
    if (rest == published) return fmt::format("resnets_{}_{}", layer, ours);
  return fmt::format("resnets_{}_{}", layer, rest);
}

/// The diffusers name of a layer in the blocks of the published UNets, which number all members of all blocks in one
/// row: a block is `residual_blocks` residual layers and a change of size.
std::string unet_name(std::string_view layer, int residual_blocks) {
  constexpr std::string_view kDown = "input_blocks_", kMiddle = "middle_block_", kUp = "output_blocks_";
  const int row = residual_blocks + 1;
  if (layer.starts_with(kMiddle)) {
    layer.remove_prefix(kMiddle.size());
    const auto member = take_number(layer);
    if (!member || *member > 2) return {};
    return "mid_block_" + unet_part(*member % 2, *member / 2, layer, "");
  }
  const bool down = layer.starts_with(kDown);
  if (!down && !layer.starts_with(kUp)) return {};
  layer.remove_prefix(down ? kDown.size() : kUp.size());
  const auto place = take_number(layer);
  const auto member = place ? take_number(layer) : std::nullopt;
  if (!member || (down && *place < 1)) return {};
  const int index = down ? *place - 1 : *place;
  return fmt::format("{}_blocks_{}_{}", down ? "down" : "up", index / row,
                     unet_part(*member, index % row, layer, down ? "downsamplers" : "upsamplers"));
}

}  // namespace

std::optional<AdapterKey> parse_adapter_key(std::string_view key) {
  constexpr std::string_view kAlpha = ".alpha", kWeight = ".weight", kWrapper = "base_model.model.";
  std::optional<AdapterPart> part;
  std::string name;
  if (key.ends_with(kAlpha)) {
    part = AdapterPart::Alpha;
    name = key.substr(0, key.size() - kAlpha.size());
  } else if (key.ends_with(kWeight)) {
    const std::string_view before = key.substr(0, key.size() - kWeight.size());
    for (const auto& [text, meaning] : kEndings) {
      const size_t at = before.rfind(text);
      if (at == std::string_view::npos) continue;
      // PEFT may put the adapter's name, which has no dot, between ending and "weight".
      const std::string_view after = before.substr(at + text.size());
      if (!after.empty() && (after.front() != '.' || after.find('.', 1) != std::string_view::npos)) continue;
      part = meaning;
      name = before.substr(0, at);
      break;
    }
  }
  if (!part || name.empty()) return std::nullopt;
  AdapterKey result{.component = "denoiser", .layer = name, .name = name, .part = *part};
  if (result.layer.starts_with(kWrapper)) result.layer.erase(0, kWrapper.size());
  for (const auto& [text, component] : kPrefixes) {
    if (!result.layer.starts_with(text)) continue;
    result.layer.erase(0, text.size());
    result.component = component;
    break;
  }
  return result;
}

WeightIndex::WeightIndex(const Weights& weights) {
  constexpr std::string_view kWeight = ".weight";
  for (const auto& [name, tensor] : weights) {
    if (!name.ends_with(kWeight) || tensor.dim() < 2) continue;
    std::string_view layer = std::string_view(name).substr(0, name.size() - kWeight.size());
    const size_t root = layer.find('.');
    const std::string_view first = layer.substr(0, root);
    if (root != std::string_view::npos &&
        (first == "unet" || first == "transformer" || first.starts_with("text_encoder")))
      layer.remove_prefix(root + 1);
    const auto [known, added] = names_.emplace(replaced(flat(layer), "text_model_", ""), name);
    GLINT_CHECK(added, BadModel, "weights '{}' and '{}' cannot be told apart in the keys of a LoRA file",
                known->second, name);
  }
  while (names_.contains(fmt::format("down_blocks_0_resnets_{}_conv1", residual_blocks_))) ++residual_blocks_;
}

std::vector<std::string> WeightIndex::find(const std::string& layer) const {
  std::string name = replaced(flat(layer), "text_model_", "");
  // Processors of attention held the layers themselves once: attn1.processor.to_out_lora.down.
  if (const size_t at = name.find("_processor_"); at != std::string::npos) {
    name.replace(at, std::string_view("_processor_").size(), "_");
    if (name.ends_with("_to_out")) name += "_0";
  }
  std::vector<std::string> candidates{name};
  if (!names_.contains(name)) {
    candidates = translated(name);
    if (candidates.empty() && residual_blocks_ > 0) candidates = {unet_name(name, residual_blocks_)};
  }
  std::vector<std::string> found;
  for (const std::string& candidate : candidates) {
    const auto known = names_.find(candidate);
    if (known == names_.end()) return {};
    found.push_back(known->second);
  }
  return found;
}

}  // namespace glint::detail
