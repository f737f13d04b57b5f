#include "lora/adapter_names.hpp"

#include "family/family.hpp"

#include <glint/core/error.hpp>
#include <glint/core/tensor.hpp>

#include <algorithm>
#include <array>

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
    Prefix{"lora_unet.", "denoiser"},
    Prefix{"lora_te1.", "text_encoder"},
    Prefix{"lora_te2.", "text_encoder_2"},
    Prefix{"lora_te3.", "text_encoder_3"},
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

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

std::string flat(std::string_view name) { return replaced(std::string(name), ".", "_"); }

/// Returns the number that # stands for if `text` matches `pattern`, "" if the pattern has no #, else
/// nullopt.
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

/// Translates a layer by one pair of names; several results if the published weights are fused.
std::vector<std::string> translated(const families::LayerName& names, std::string_view layer) {
  const auto number = number_in(names.published, layer);
  if (!number) return {};
  std::vector<std::string> ours;
  const std::string all = replaced(std::string(names.ours), "#", *number);
  for (size_t begin = 0; begin <= all.size();) {
    const size_t end = std::min(all.find('|', begin), all.size());
    ours.push_back(all.substr(begin, end - begin));
    begin = end + 1;
  }
  return ours;
}

/// Translates a layer named as in any family's published checkpoint.
std::vector<std::string> translated(std::string_view layer, const families::HasLayer& has) {
  for (const families::Family& family : families::all()) {
    for (const families::LayerName& names : family.layer_names)
      if (auto ours = translated(names, layer); !ours.empty()) return ours;
    if (!family.layer_name) continue;
    if (std::string ours = family.layer_name(layer, has); !ours.empty()) return {std::move(ours)};
  }
  return {};
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
      // PEFT may put the adapter's name, which has no dot, between the suffix and "weight".
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
}

std::vector<std::string> WeightIndex::find(const std::string& layer) const {
  std::string name = replaced(flat(layer), "text_model_", "");
  // Attention processors used to own the layers: attn1.processor.to_out_lora.down.
  if (const size_t at = name.find("_processor_"); at != std::string::npos) {
    name.replace(at, std::string_view("_processor_").size(), "_");
    if (name.ends_with("_to_out")) name += "_0";
  }
  const auto has = [&](const std::string& one) { return names_.contains(one); };
  const std::vector<std::string> candidates = has(name) ? std::vector{name} : translated(name, has);
  std::vector<std::string> found;
  for (const std::string& candidate : candidates) {
    const auto known = names_.find(candidate);
    if (known == names_.end()) return {};
    found.push_back(known->second);
  }
  return found;
}

}  // namespace glint::detail
