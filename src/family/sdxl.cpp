// Stable Diffusion XL. Its published UNet numbers layers consecutively across blocks, which no table can
// translate.
#include "family/family.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>

namespace glint::families {
namespace {

/// Layer names in SDXL's residual blocks.
constexpr std::array kResidualParts{
    LayerName{"in_layers_2", "conv1"},
    LayerName{"out_layers_3", "conv2"},
    LayerName{"emb_layers_1", "time_emb_proj"},
    LayerName{"skip_connection", "conv_shortcut"},
};

/// Strips a number and the following underscore from the front.
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

/// Returns our name for layer `rest` of member `member` of a UNet block in the published checkpoint.
std::string unet_part(int member, int layer, std::string_view rest, std::string_view sampler) {
  if (rest == "op" || rest == "conv") return fmt::format("{}_0_conv", sampler);
  if (member > 0) return fmt::format("attentions_{}_{}", layer, rest);
  for (const auto& [published, ours, unused] : kResidualParts)
    if (rest == published) return fmt::format("resnets_{}_{}", layer, ours);
  return fmt::format("resnets_{}_{}", layer, rest);
}

/// Returns the diffusers name of a layer in the published UNet, which numbers all members of all blocks
/// consecutively: a block is a few residual layers and a resampler.
std::string block_layer(std::string_view layer, const HasLayer& has) {
  int residual_blocks = 0;
  while (has(fmt::format("down_blocks_0_resnets_{}_conv1", residual_blocks))) ++residual_blocks;
  if (residual_blocks == 0) return {};
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

Family sdxl() {
  return {.name = "sdxl",
          .encoders = 2,
          .text = TextLayout{.side_by_side = {0, 1},
                             .pooled = {1},
                             .time_ids = true,
                             .clip_skip = true,
                             .inputs = {"tokens", "pooled", "time_ids"}},
          .text_tokens = TextTokens::Cross,
          .layer_names =
              {
                  {"input_blocks_0_0", "conv_in"},
                  {"out_2", "conv_out"},
                  {"time_embed_0", "time_embedding_linear_1"},
                  {"time_embed_2", "time_embedding_linear_2"},
                  {"label_emb_0_0", "add_embedding_linear_1"},
                  {"label_emb_0_2", "add_embedding_linear_2"},
              },
          .layer_name = block_layer};
}

}  // namespace glint::families
