#include "lora/adapter_names.hpp"

#include "family/family.hpp"

#include <glint/core/error.hpp>
#include <glint/core/tensor.hpp>

#include <array>

namespace glint::detail {
namespace {

using enum AdapterPart;

constexpr std::array kPrefixes{
    ComponentPrefix{"unet.", "denoiser"},
    ComponentPrefix{"transformer.", "denoiser"},
    ComponentPrefix{"model.diffusion_model.", "denoiser"},
    ComponentPrefix{"diffusion_model.", "denoiser"},
    ComponentPrefix{"lora_unet_", "denoiser"},
    ComponentPrefix{"lora_unet.", "denoiser"},
    ComponentPrefix{"lora_transformer_", "denoiser"},
    ComponentPrefix{"lycoris_", "denoiser"},
    ComponentPrefix{"text_encoder.", "text_encoder"},
    ComponentPrefix{"text_encoders.clip_l.transformer.", "text_encoder"},
    ComponentPrefix{"lora_te_", "text_encoder"},
    ComponentPrefix{"lora_te1_", "text_encoder"},
    ComponentPrefix{"lora_te1.", "text_encoder"},
    ComponentPrefix{"text_encoder_2.", "text_encoder_2"},
    ComponentPrefix{"text_encoders.clip_g.transformer.", "text_encoder_2"},
    ComponentPrefix{"lora_te2_", "text_encoder_2"},
    ComponentPrefix{"lora_te2.", "text_encoder_2"},
    ComponentPrefix{"text_encoder_3.", "text_encoder_3"},
    ComponentPrefix{"text_encoders.t5xxl.transformer.", "text_encoder_3"},
    ComponentPrefix{"lora_te3_", "text_encoder_3"},
    ComponentPrefix{"lora_te3.", "text_encoder_3"},
};

/// The ending of a key that has nothing behind it.
constexpr KeyEnding exact(std::string_view text, AdapterPart part) {
  return {.text = text, .part = part, .tail = "", .named = false};
}

/// The key of a norm's own values.
constexpr KeyEnding norm_values(std::string_view name, std::string_view tail) {
  return {.text = name, .part = Value, .tail = tail, .kept = name, .named = false};
}

/// What the keys of other formats have in them, and what these are called.
constexpr std::array<std::pair<std::string_view, std::string_view>, 27> kForeign{{
    {"boft_", "BOFT"},
    {".oft_", "OFT"},
    {"ia3_", "IA3"},
    {".on_input", "IA3"},
    {".a1.weight", "GLoRA"},
    {".a2.weight", "GLoRA"},
    {".b1.weight", "GLoRA"},
    {".b2.weight", "GLoRA"},
    {"vera_lambda_", "VeRA"},
    {"fourierft_spectrum", "FourierFT"},
    {"hra_u", "HRA"},
    {"lllite_", "ControlNet-LLLite"},
    {"image_proj.", "an IP adapter"},
    {"ip_adapter.", "an IP adapter"},
    {"controlnet_", "a ControlNet"},
    {"control_model.", "a ControlNet"},
    {"emb_params", "a textual inversion"},
    {"string_to_param", "a textual inversion"},
    {"first_stage_model.", "a whole checkpoint"},
    {"input_blocks.0.0.weight", "a whole checkpoint"},
    {"double_blocks.0.img_attn.qkv.weight", "a whole checkpoint"},
    {"joint_blocks.0.x_block.attn.qkv.weight", "a whole checkpoint"},
    {"blocks.0.self_attn.q.weight", "a whole checkpoint"},
    {"conv_in.weight", "a whole network"},
    {"x_embedder.weight", "a whole network"},
    {"pos_embed.proj.weight", "a whole network"},
    {"patch_embedding.weight", "a whole network"},
}};

std::vector<ChangeKind> make_kinds() {
  return {
      {"LoRA, LoCon",
       {{".lora_A", Down},
        {".lora_B", Up},
        {".lora_B", UpBias, ".bias"},
        {".lora_down", Down},
        {".lora_up", Up},
        {".lora.down", Down},
        {".lora.up", Up},
        {".lora_linear_layer.down", Down},
        {".lora_linear_layer.up", Up},
        {"_lora.down", Down},
        {"_lora.up", Up},
        {"_lora_down", Down},
        {"_lora_up", Up},
        {"_lora1.down", Down, ".weight", "_lora1"},
        {"_lora1.up", Up, ".weight", "_lora1"},
        {"_lora2.down", Down, ".weight", "_lora2"},
        {"_lora2.up", Up, ".weight", "_lora2"},
        exact(".alpha", Alpha)},
       "W + s a B A; a bias of B adds s a b to the layer's",
       "the factors; added in place"},
      {"LoCon with a Tucker core",
       {{".lora_mid", Core}},
       "W + s a (B M A), M between the channels of B and A for each place of the kernel",
       "the factors; M A of one weight"},
      {"DoRA",
       {exact(".dora_scale", Magnitude),
        {".lora_magnitude_vector", MagnitudeVector},
        {".lora_magnitude_vector", MagnitudeVector, ""}},
       "m V / \\|V\\| with V = W + s a B A, or LoHa's or LoKr's V; norms by output row, or by input channel "
       "if "
       "`dora_scale` is [1,in]",
       "the factors; V of one weight"},
      {"LoHa",
       {exact(".hada_w1_a", HadamardUp1), exact(".hada_w1_b", HadamardDown1),
        exact(".hada_t1", HadamardCore1), exact(".hada_w2_a", HadamardUp2),
        exact(".hada_w2_b", HadamardDown2), exact(".hada_t2", HadamardCore2)},
       "W + s a (B1 A1) * (B2 A2), by elements; with cores as above",
       "the factors; both products of one weight"},
      {"LoKr",
       {exact(".lokr_w1", Kronecker1), exact(".lokr_w1_a", KroneckerUp1), exact(".lokr_w1_b", KroneckerDown1),
        exact(".lokr_w2", Kronecker2), exact(".lokr_w2_a", KroneckerUp2), exact(".lokr_w2_b", KroneckerDown2),
        exact(".lokr_t2", KroneckerCore2)},
       "W + s a kron(W1, W2); a is 1 if both are whole, unless PEFT's configuration has it",
       "the factors; added in place"},
      {"differences",
       {exact(".diff", Difference),
        exact(".w_norm", Difference),
        exact(".diff_b", BiasDifference),
        exact(".b_norm", BiasDifference),
        {.text = ".diff_m", .part = Difference, .tail = "", .kept = ".modulation", .named = false}},
       "W + s D, of weights, biases, norms and Wan's modulation",
       "D, as large as what it changes; added in place"},
      {"norms of FLUX control",
       {norm_values(".query_norm", ".scale"), norm_values(".key_norm", ".scale"),
        norm_values(".norm_q", ".weight"), norm_values(".norm_k", ".weight"),
        norm_values(".norm_added_q", ".weight"), norm_values(".norm_added_k", ".weight")},
       "the file's values, at every scale but 0",
       "the values"},
  };
}

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

/// A layer's names here; several if the published weights are fused.
struct Translation {
  std::vector<std::string> layers;
  bool shift_first = false;
};

/// Translates a layer by one pair of names.
Translation translated(const families::LayerName& names, std::string_view layer) {
  const auto number = number_in(names.published, layer);
  if (!number) return {};
  Translation ours{.layers = {}, .shift_first = names.shift_first};
  const std::string all = replaced(std::string(names.ours), "#", *number);
  for (size_t begin = 0; begin <= all.size();) {
    const size_t end = std::min(all.find('|', begin), all.size());
    ours.layers.push_back(all.substr(begin, end - begin));
    begin = end + 1;
  }
  return ours;
}

/// Translates a layer named as in any family's published checkpoint.
Translation translated(std::string_view layer, const families::HasLayer& has) {
  for (const families::Family& family : families::all()) {
    for (const families::LayerName& names : family.layer_names)
      if (Translation ours = translated(names, layer); !ours.layers.empty()) return ours;
    if (!family.layer_name) continue;
    if (std::string ours = family.layer_name(layer, has); !ours.empty()) return {.layers = {std::move(ours)}};
  }
  return {};
}

/// Returns the key without this ending, or nullopt.
std::optional<std::string> without(std::string_view key, const KeyEnding& ending) {
  if (!key.ends_with(ending.tail)) return std::nullopt;
  key.remove_suffix(ending.tail.size());
  const size_t at = key.rfind(ending.text);
  if (at == std::string_view::npos || at == 0) return std::nullopt;
  // PEFT may put the adapter's name, which has no dot, between the suffix and "weight".
  const std::string_view after = key.substr(at + ending.text.size());
  const bool adapter = ending.named && after.starts_with('.') && after.find('.', 1) == std::string_view::npos;
  if (!after.empty() && !adapter) return std::nullopt;
  std::string name(key.substr(0, at));
  while (name.ends_with('_')) name.pop_back();
  return name.empty() ? std::nullopt : std::optional(name + std::string(ending.kept));
}

}  // namespace

std::span<const ChangeKind> change_kinds() {
  static const std::vector<ChangeKind> kinds = make_kinds();
  return kinds;
}

std::span<const ComponentPrefix> component_prefixes() { return kPrefixes; }

std::string_view foreign_format(std::string_view key) {
  if (key == "clip_l" || key == "clip_g") return "a textual inversion";
  for (const auto& [mark, name] : kForeign)
    if (key.find(mark) != std::string_view::npos) return name;
  return "";
}

std::optional<AdapterKey> parse_adapter_key(std::string_view key) {
  constexpr std::string_view kWrapper = "base_model.model.";
  const auto parsed = [&]() -> std::optional<AdapterKey> {
    for (const ChangeKind& kind : change_kinds())
      for (const KeyEnding& ending : kind.endings)
        if (const auto name = without(key, ending))
          return AdapterKey{.component = "denoiser", .layer = *name, .name = *name, .part = ending.part};
    return std::nullopt;
  };
  std::optional<AdapterKey> result = parsed();
  if (!result) return std::nullopt;
  if (result->layer.starts_with(kWrapper)) result->layer.erase(0, kWrapper.size());
  for (const auto& [text, component] : kPrefixes) {
    if (!result->layer.starts_with(text)) continue;
    result->layer.erase(0, text.size());
    result->component = component;
    break;
  }
  return result;
}

WeightIndex::WeightIndex(const Weights& weights) : weights_(weights) {
  for (const auto& [name, tensor] : weights) {
    if (!tensor.is_floating_point() || tensor.dim() == 0) continue;
    std::string_view path = name;
    const size_t root = path.find('.');
    const std::string_view first = path.substr(0, root);
    if (root != std::string_view::npos &&
        (first == "unet" || first == "transformer" || first.starts_with("text_encoder")))
      path.remove_prefix(root + 1);
    const auto [known, added] = names_.emplace(replaced(flat(path), "text_model_", ""), name);
    GLINT_CHECK(added, BadModel, "weights '{}' and '{}' cannot be told apart in the keys of a LoRA file",
                known->second, name);
  }
}

const std::string* WeightIndex::weight(const std::string& layer, const std::string& parameter) const {
  auto found = names_.find(layer + "_" + parameter);
  // A table has no parts: its name is the layer's.
  if (found == names_.end() && parameter == "weight") found = names_.find(layer);
  return found == names_.end() ? nullptr : &found->second;
}

std::vector<ChangeTarget> WeightIndex::find(const std::string& layer, const std::string& parameter) const {
  std::string name = replaced(flat(layer), "text_model_", "");
  // Attention processors used to own the layers: attn1.processor.to_out_lora.down.
  if (const size_t at = name.find("_processor_"); at != std::string::npos) {
    name.replace(at, std::string_view("_processor_").size(), "_");
    if (name.ends_with("_to_out")) name += "_0";
  }
  const auto has = [&](const std::string& one) { return weight(one, "weight") != nullptr; };
  const Translation ours = weight(name, parameter) ? Translation{.layers = {name}} : translated(name, has);
  std::vector<ChangeTarget> found;
  for (const std::string& one : ours.layers) {
    const std::string* const target = weight(one, parameter);
    if (!target) return {};
    // Of the modulations, only those of an output have a shift and a scale alone.
    const std::string* const matrix = ours.shift_first ? weight(one, "weight") : nullptr;
    const bool swapped = matrix && weights_.at(*matrix).size(0) == 2 * weights_.at(*matrix).size(-1);
    found.push_back({.weight = *target, .halves_swapped = swapped});
  }
  return found;
}

}  // namespace glint::detail
