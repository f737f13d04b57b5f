#include "bundle/component_fields.hpp"

namespace glint::detail {
namespace {

constexpr int64_t kMostTokens = 65536;
constexpr std::array<std::string_view, 4> kDtypes{"float32", "float16", "bfloat16", "float64"};
constexpr std::array<std::string_view, 1> kCleanings{"web"};
/// Component roles; those in kNumberedRoles are prefixes, as in denoiser_early.
constexpr std::array<std::string_view, 12> kRoles{
    "denoiser",         "weak_denoiser", "perturbed_denoiser", "text_encoder", "tokenizer",  "vae_decoder",
    "vae_decoder_next", "vae_encoder",   "vae_encoder_next",   "npnet",        "core2_weak", "scorer"};
constexpr std::array<std::string_view, 4> kNumberedRoles{"denoiser_", "text_encoder_", "tokenizer_",
                                                         "scorer_"};

/// Whether a path stays inside the bundle: relative, and never going up.
bool stays_inside(const std::string& file) {
  const std::filesystem::path path(file);
  if (path.empty() || path.is_absolute() || file.find('\\') != std::string::npos) return false;
  return std::none_of(path.begin(), path.end(),
                      [](const auto& part) { return part == ".." || part == "."; }) &&
         path.has_filename() && file.find('\0') == std::string::npos;
}

bool is_sha256(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

template <typename Visitor, typename Entry>
void file_fields(Visitor& v, Entry& entry) {
  v.required("file", entry.file);
  v.rule(stays_inside(entry.file), "file", "a relative path inside the bundle's folder");
  v.required("sha256", entry.sha256);
  v.rule(is_sha256(entry.sha256), "sha256", "64 lower-case hexadecimal digits");
}

template <typename Visitor>
void frame_fields(Visitor& v, const TokenizerFacts& facts, TokenFrame& frame) {
  if (Visitor::kReads && !facts.framed) return;
  v.required("max_tokens", frame.max_tokens);
  v.rule(frame.max_tokens > (facts.bos ? 2 : 1) && frame.max_tokens <= kMostTokens, "max_tokens",
         facts.bos ? "an integer from 3 to 65536" : "an integer from 2 to 65536");
  v.required("pad", frame.pad);
  v.rule(frame.pad >= 0, "pad", "an id of at least 0");
  v.required("eos", frame.eos);
  v.rule(frame.eos >= 0, "eos", "an id of at least 0");
  if (!Visitor::kReads || facts.bos) {
    v.required("bos", frame.bos);
    v.rule(frame.bos >= 0, "bos", "an id of at least 0");
  }
  std::string clean;
  v.choice("clean", clean, kCleanings, false);
  frame.web_text = !clean.empty();
}

/// Returns the backends that can run a component; only npnet and core2_weak have built-in architectures.
std::vector<std::string_view> backends(std::string_view role) {
  std::vector<std::string_view> names(EnumNames<Backend>::values.begin(), EnumNames<Backend>::values.end());
  if (role != "npnet" && role != "core2_weak")
    std::erase_if(names, [](std::string_view name) { return facts_of(*enum_value<Backend>(name)).built_in; });
  return names;
}

template <typename Visitor>
void fields(Visitor& v, Component& component, std::string_view role) {
  file_fields(v, component);
  if (is_tokenizer(role)) {
    v.choice("backend", component.tokenizer);
    return frame_fields(v, facts_of(component.tokenizer), component.frame);
  }
  v.choice("backend", component.backend, true, backends(role));
  const BackendFacts& facts = facts_of(component.backend);
  v.choice("dtype", component.dtype, kDtypes, false);
  if (!facts.built_in) v.choice("compute", component.compute, kDtypes, false);
  v.rule(component.compute.empty() || component.compute == component.dtype || facts.converts, "compute",
         "the component's dtype: only the weights of a torchscript component can be converted");
  if (!is_denoiser(role)) {
    v.optional("inputs", component.inputs);
    v.optional("layers", component.layers);
    const auto& inputs = component.inputs;
    const bool skips = std::find(inputs.begin(), inputs.end(), "skip") != inputs.end();
    v.rule(skips ? component.layers >= 1 : component.layers == 0, "layers",
           "an integer of at least 1, beside the input \"skip\"");
    return;
  }
  v.required("inputs", component.inputs);
  v.rule(std::find(component.inputs.begin(), component.inputs.end(), "latents") != component.inputs.end(),
         "inputs", "an array with \"latents\" in it");
  auto sorted = component.inputs;
  std::sort(sorted.begin(), sorted.end());
  v.rule(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end(), "inputs", "names that differ");
  v.choice("time", component.time);
  v.choice("text_tokens", component.text_tokens, false);
}

bool is_role(std::string_view name) {
  if (std::find(kRoles.begin(), kRoles.end(), name) != kRoles.end()) return true;
  return std::any_of(kNumberedRoles.begin(), kNumberedRoles.end(), [&](std::string_view prefix) {
    return name.size() > prefix.size() && name.starts_with(prefix) &&
           name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string::npos;
  });
}

}  // namespace

void component_fields(FieldReader& v, Component& component, std::string_view role) {
  fields(v, component, role);
}

void components(FieldReader& v, std::map<std::string, Component>& out) {
  for (const auto& [name, unused] : v.json().items()) {
    GLINT_CHECK(is_role(name), BadModel, "{}: unknown component{}", v.place(name),
                did_you_mean(name, kRoles));
    Component component;
    v.object(name.c_str(), true, [&, &name = name](FieldReader& inner) { fields(inner, component, name); });
    out.emplace(name, std::move(component));
  }
  GLINT_CHECK(out.contains("denoiser"), BadModel, "{}: missing component", v.place("denoiser"));
}

void components(FieldLister& v, std::map<std::string, Component>&) {
  for (const char* role : {"denoiser", "tokenizer", "*"})
    v.object(role, false, [&](FieldLister& inner) {
      Component unused;
      fields(inner, unused, role);
    });
}

void adapters(FieldReader& v, std::map<std::string, AdapterEntry>& out) {
  constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
  for (const auto& [name, unused] : v.json().items()) {
    // Names appear on command lines between ':', '=' and ','.
    GLINT_CHECK(!name.empty() && name.find_first_not_of(kLetters) == std::string::npos, BadModel,
                "{}: an adapter's name consists of letters, digits, '_', '.' and '-'", v.place(name));
    AdapterEntry adapter;
    v.object(name.c_str(), true, [&](FieldReader& inner) { file_fields(inner, adapter); });
    out.emplace(name, std::move(adapter));
  }
}

void adapters(FieldLister& v, std::map<std::string, AdapterEntry>&) {
  v.object("*", false, [](FieldLister& inner) {
    AdapterEntry unused;
    file_fields(inner, unused);
  });
}

}  // namespace glint::detail
