// The format is written down once, in the `fields` functions below; docs/model.schema.json says the same to editors.
#include "io/file.hpp"
#include "io/json_fields.hpp"
#include "text/family_text.hpp"

#include <glint/core/parameterization.hpp>
#include <glint/bundle/manifest.hpp>

#include <type_traits>

namespace glint {
namespace {

using detail::Choices;
using detail::FieldLister;
using detail::FieldReader;

constexpr int64_t kFormat = 1;
constexpr int64_t kMostTrainSteps = 1'000'000;
constexpr int64_t kMostTokens = 65536;

Choices<std::string> texts(std::initializer_list<const char*> names) {
  Choices<std::string> choices;
  for (const char* name : names) choices.emplace_back(name, name);
  return choices;
}

const Choices<NoiseKind> kNoiseKinds{{"vp", NoiseKind::VariancePreserving}, {"flow", NoiseKind::Flow}};
const Choices<Betas> kBetas{
    {"scaled_linear", Betas::ScaledLinear}, {"linear", Betas::Linear}, {"squaredcos", Betas::SquaredCosine}};
const Choices<Spacing> kSpacings{
    {"leading", Spacing::Leading}, {"trailing", Spacing::Trailing}, {"linspace", Spacing::Linspace}};
const Choices<Sigmas> kSigmas{
    {"model", Sigmas::Model}, {"karras", Sigmas::Karras}, {"exponential", Sigmas::Exponential}};
const Choices<FinalAlpha> kFinalAlphas{{"first", FinalAlpha::First}, {"one", FinalAlpha::One}};
const Choices<FlowSpacing> kFlowSpacings{{"per_step", FlowSpacing::PerStep},
                                         {"training", FlowSpacing::Training}};
const Choices<Parameterization> kParameterizations{{"epsilon", Parameterization::Epsilon},
                                                   {"v", Parameterization::V},
                                                   {"x0", Parameterization::X0},
                                                   {"velocity", Parameterization::Velocity}};
const Choices<Backend> kNetworkBackends{
    {"torchscript", Backend::TorchScript}, {"pt2", Backend::ExportedProgram}, {"aoti", Backend::AotInductor}};
/// Of components whose architectures the library has.
const Choices<Backend> kWeightsBackends{{"torchscript", Backend::TorchScript},
                                        {"pt2", Backend::ExportedProgram},
                                        {"aoti", Backend::AotInductor},
                                        {"safetensors", Backend::Safetensors}};
const Choices<Backend> kTokenizerBackends{
    {"words", Backend::Words}, {"clip-bpe", Backend::ClipBpe}, {"sentencepiece", Backend::SentencePiece}};
const Choices<TimeUnit> kTimeUnits{
    {"timestep", TimeUnit::Timestep}, {"sigma", TimeUnit::Sigma}, {"unit", TimeUnit::Unit}};
const auto kDtypes = texts({"float32", "float16", "bfloat16", "float64"});
/// Components by role. More of the kinds marked with '_' may follow, e.g. denoiser_early.
const std::vector<std::string> kRoles{"denoiser",    "weak_denoiser",    "text_encoder", "tokenizer",
                                      "vae_decoder", "vae_decoder_next", "vae_encoder",  "vae_encoder_next",
                                      "npnet",       "core2_weak",       "scorer"};
const std::vector<std::string> kNumberedRoles{"denoiser_", "text_encoder_", "tokenizer_"};

template <typename Visitor>
void fields(Visitor& v, DynamicShift& shift) {
  v.required("base_shift", shift.base_shift);
  v.required("max_shift", shift.max_shift);
  v.required("base_tokens", shift.base_tokens);
  v.required("max_tokens", shift.max_tokens);
  v.rule(shift.base_tokens > 0, "base_tokens", "a positive number");
  v.rule(shift.max_tokens > shift.base_tokens, "max_tokens", "a number above base_tokens");
}

template <typename Visitor>
void vp_fields(Visitor& v, ScheduleSpec& schedule) {
  VpTraining& vp = schedule.vp;
  v.choice("betas", vp.betas, kBetas);
  if (!Visitor::kReads || vp.betas != Betas::SquaredCosine) {
    v.required("beta_start", vp.beta_start);
    v.required("beta_end", vp.beta_end);
    v.rule(vp.beta_start > 0 && vp.beta_start < 1, "beta_start", "a number between 0 and 1");
    v.rule(vp.beta_end > vp.beta_start && vp.beta_end < 1, "beta_end", "a number between beta_start and 1");
  }
  v.optional("zero_terminal_snr", vp.zero_terminal_snr);
  v.choice("spacing", schedule.grid.spacing, kSpacings, false);
  v.choice("sigmas", schedule.grid.sigmas, kSigmas, false);
  int64_t offset = 0;
  v.optional("steps_offset", offset);
  v.rule(offset >= 0 && offset < vp.train_steps, "steps_offset", "an integer from 0 to train_steps - 1");
  schedule.grid.steps_offset = static_cast<int>(offset);
  v.choice("final_alpha", vp.final_alpha, kFinalAlphas, false);
}

/// The shift is a number, "dynamic" with FLUX's values, or an object with other values.
void shift_field(FieldReader& v, FlowTraining& flow) {
  const auto* value = v.find("shift");
  if (!value) return;
  if (value->is_object()) {
    FieldReader outer(*value, v.place("shift"), "");
    DynamicShift shift;
    outer.object("dynamic", true, [&](FieldReader& inner) { fields(inner, shift); });
    outer.finish();
    flow.dynamic = shift;
  } else if (*value == "dynamic") {
    flow.dynamic.emplace();
  } else {
    v.rule(value->is_number(), "shift", "a number, \"dynamic\" or {\"dynamic\": {...}}");
    flow.shift = value->get<double>();
    v.rule(std::isfinite(flow.shift) && flow.shift > 0, "shift", "a positive number");
  }
}

void shift_field(FieldLister& v, FlowTraining&) {
  v.object("shift", false, [](FieldLister& shift) {
    shift.object("dynamic", true, [](FieldLister& dynamic) {
      DynamicShift unused;
      fields(dynamic, unused);
    });
  });
}

template <typename Visitor>
void flow_fields(Visitor& v, FlowTraining& flow) {
  shift_field(v, flow);
  v.choice("last_sigma", flow.spacing, kFlowSpacings, false);
  v.optional("shift_terminal", flow.shift_terminal);
  const double terminal = flow.shift_terminal.value_or(0.0);
  v.rule(terminal >= 0.0 && terminal < 1.0, "shift_terminal", "a number from 0 to below 1");
}

template <typename Visitor>
void fields(Visitor& v, ScheduleSpec& schedule) {
  v.choice("kind", schedule.kind, kNoiseKinds);
  int64_t train_steps = 1000;
  v.optional("train_steps", train_steps);
  v.rule(train_steps >= 2 && train_steps <= kMostTrainSteps, "train_steps", "an integer from 2 to 1000000");
  schedule.vp.train_steps = schedule.flow.train_steps = static_cast<int>(train_steps);
  if (!Visitor::kReads || schedule.kind == NoiseKind::VariancePreserving) vp_fields(v, schedule);
  if (!Visitor::kReads || schedule.kind == NoiseKind::Flow) flow_fields(v, schedule.flow);
}

template <typename Visitor>
void fields(Visitor& v, LatentSpec& latent) {
  v.required("channels", latent.channels);
  v.optional("spatial_scale", latent.spatial_scale);
  v.optional("frame_scale", latent.frame_scale);
  v.optional("scaling_factor", latent.scaling_factor);
  v.optional("shift_factor", latent.shift_factor);
  v.optional("height", latent.height);
  v.optional("width", latent.width);
  v.optional("frames", latent.frames);
  v.optional("fixed_size", latent.fixed_size);
  v.optional("patch", latent.patch);
  v.rule(latent.patch > 0, "patch", "a positive integer");
  latent.multiple = latent.patch;
  v.optional("multiple", latent.multiple);
  v.rule(latent.multiple > 0 && latent.multiple % latent.patch == 0, "multiple",
         "a positive multiple of patch");
  v.optional("largest", latent.largest);
  v.rule(latent.largest.value_or(latent.multiple) >= latent.multiple, "largest",
         "an integer of at least multiple");
  v.rule(latent.channels > 0, "channels", "a positive integer");
  v.rule(latent.spatial_scale > 0, "spatial_scale", "a positive integer");
  v.rule(latent.frame_scale.value_or(1) > 0, "frame_scale", "a positive integer or null");
  v.rule(latent.scaling_factor != 0.0, "scaling_factor", "a number other than 0");
  v.rule(!latent.fixed_size || (latent.height && latent.width), "fixed_size",
         "false, or height and width beside it");
  v.rule(latent.height.value_or(1) > 0, "height", "a positive integer");
  v.rule(latent.width.value_or(1) > 0, "width", "a positive integer");
  v.rule(latent.frames.value_or(1) > 0, "frames", "a positive integer");
}

template <typename Visitor>
void fields(Visitor& v, GuidanceSpec& guidance) {
  v.optional("null_branch", guidance.uncond_branch);
  v.optional("embedded", guidance.embedded);
  v.optional("default", guidance.default_scale);
  v.optional("zero_null", guidance.zero_uncond);
}

/// A path is the bundle's own if it is relative and never goes up.
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

/// A word table has its frame in its file.
template <typename Visitor>
void frame_fields(Visitor& v, Backend backend, TokenFrame& frame) {
  if (Visitor::kReads && backend == Backend::Words) return;
  const bool clip = backend == Backend::ClipBpe;
  v.required("max_tokens", frame.max_tokens);
  v.rule(frame.max_tokens > (clip ? 2 : 1) && frame.max_tokens <= kMostTokens, "max_tokens",
         clip ? "an integer from 3 to 65536" : "an integer from 2 to 65536");
  v.required("pad", frame.pad);
  v.rule(frame.pad >= 0, "pad", "an id of at least 0");
  v.required("eos", frame.eos);
  v.rule(frame.eos >= 0, "eos", "an id of at least 0");
  if (!Visitor::kReads || clip) {
    v.required("bos", frame.bos);
    v.rule(frame.bos >= 0, "bos", "an id of at least 0");
  }
  v.choice("clean", frame.web_text, {{"web", true}}, false);
}

const Choices<Backend>& backends(std::string_view role) {
  if (is_tokenizer(role)) return kTokenizerBackends;
  return role == "npnet" || role == "core2_weak" ? kWeightsBackends : kNetworkBackends;
}

template <typename Visitor>
void fields(Visitor& v, Component& component, std::string_view role) {
  v.required("file", component.file);
  v.rule(stays_inside(component.file), "file", "a relative path inside the bundle's folder");
  v.choice("backend", component.backend, backends(role));
  v.required("sha256", component.sha256);
  v.rule(is_sha256(component.sha256), "sha256", "64 lower-case hexadecimal digits");
  if (is_tokenizer(role)) {
    frame_fields(v, component.backend, component.frame);
    return;
  }
  v.choice("dtype", component.dtype, kDtypes, false);
  if (component.backend != Backend::Safetensors) v.choice("compute", component.compute, kDtypes, false);
  v.rule(component.compute.empty() || component.compute == component.dtype ||
             component.backend == Backend::TorchScript,
         "compute", "the component's dtype: only the weights of a torchscript component can be converted");
  if (!is_denoiser(role)) {
    v.optional("inputs", component.inputs);
    return;
  }
  v.required("inputs", component.inputs);
  v.rule(std::find(component.inputs.begin(), component.inputs.end(), "latents") != component.inputs.end(),
         "inputs", "an array with \"latents\" in it");
  auto sorted = component.inputs;
  std::sort(sorted.begin(), sorted.end());
  v.rule(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end(), "inputs", "names that differ");
  v.choice("time", component.time, kTimeUnits);
}

template <typename Visitor>
void fields(Visitor& v, AdapterEntry& adapter) {
  v.required("file", adapter.file);
  v.rule(stays_inside(adapter.file), "file", "a relative path inside the bundle's folder");
  v.required("sha256", adapter.sha256);
  v.rule(is_sha256(adapter.sha256), "sha256", "64 lower-case hexadecimal digits");
}

void adapters(FieldReader& v, std::map<std::string, AdapterEntry>& out) {
  constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
  for (const auto& [name, unused] : v.json().items()) {
    // Names are typed on command lines, between ':', '=' and ','.
    GLINT_CHECK(!name.empty() && name.find_first_not_of(kLetters) == std::string::npos, BadModel,
                "{}: an adapter's name consists of letters, digits, '_', '.' and '-'", v.place(name));
    AdapterEntry adapter;
    v.object(name.c_str(), true, [&](FieldReader& inner) { fields(inner, adapter); });
    out.emplace(name, std::move(adapter));
  }
}

void adapters(FieldLister& v, std::map<std::string, AdapterEntry>&) {
  v.object("*", false, [](FieldLister& inner) {
    AdapterEntry unused;
    fields(inner, unused);
  });
}

bool is_role(const std::string& name) {
  if (std::find(kRoles.begin(), kRoles.end(), name) != kRoles.end()) return true;
  return std::any_of(kNumberedRoles.begin(), kNumberedRoles.end(), [&](const std::string& prefix) {
    return name.size() > prefix.size() && name.starts_with(prefix) &&
           name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string::npos;
  });
}

void components(FieldReader& v, std::map<std::string, Component>& out) {
  for (const auto& [name, unused] : v.json().items()) {
    GLINT_CHECK(is_role(name), BadModel, "{}: unknown component{}", v.place(name),
                did_you_mean(name, kRoles));
    Component component;
    v.object(name.c_str(), true, [&](FieldReader& inner) { fields(inner, component, name); });
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

void format_field(FieldReader& v) {
  int64_t format = 0;
  v.required("format", format);
  GLINT_CHECK(format == kFormat, BadModel, "{}: version {} is not supported; this build reads version {}",
              v.place("format"), format, kFormat);
}

void format_field(FieldLister& v) { v.add("format"); }

template <typename Visitor>
void fields(Visitor& v, Manifest& manifest) {
  format_field(v);
  v.required("name", manifest.name);
  v.choice("family", manifest.family, texts({"sdxl", "sd3", "flux", "wan", "emoji", "tensor"}));
  v.choice("parameterization", manifest.parameterization, kParameterizations);
  v.object("schedule", true, [&](auto& inner) { fields(inner, manifest.schedule); });
  v.object("latent", true, [&](auto& inner) { fields(inner, manifest.latent); });
  v.object("guidance", false, [&](auto& inner) { fields(inner, manifest.guidance); });
  v.optional("default_steps", manifest.default_steps);
  v.rule(manifest.default_steps.value_or(1) > 0, "default_steps", "a positive integer");
  v.optional("default_solver", manifest.default_solver);
  v.optional("torch", manifest.torch);
  v.object("components", true, [&](auto& inner) { components(inner, manifest.components); });
  v.object("adapters", false, [&](auto& inner) { adapters(inner, manifest.adapters); });
}

/// A bundle that takes prompts has the text encoders of its family, each with its tokenizer, and a denoiser that takes
/// what they give.
void check_text(const Manifest& manifest, const std::string& where) {
  const auto* text = detail::family_text(manifest.family);
  std::vector<std::string> roles, found;
  for (const auto& [name, unused] : manifest.components)
    if (name.starts_with("text_encoder")) found.push_back(name);
  if (!text || found.empty()) return;
  for (size_t i = 0; i < text->encoders; ++i)
    for (const char* role : {"text_encoder", "tokenizer"}) roles.push_back(detail::numbered(role, i));
  for (const std::string& role : roles)
    GLINT_CHECK(manifest.components.contains(role), BadModel,
                "{}: components.{}: missing component; family {} has {}", where, role, manifest.family,
                fmt::join(roles, ", "));
  for (const std::string& role : found)
    GLINT_CHECK(std::find(roles.begin(), roles.end(), role) != roles.end(), BadModel,
                "{}: components.{}: family {} has no such component, only {}", where, role, manifest.family,
                fmt::join(roles, ", "));

  std::vector<std::string> taken = manifest.components.at("denoiser").inputs;
  std::erase_if(taken, [](const std::string& name) {
    return name == "latents" || name == "time" || name == "guidance" || name == "token_order";
  });
  std::vector<std::string> given(text->inputs.begin(), text->inputs.end());
  std::sort(taken.begin(), taken.end());
  std::sort(given.begin(), given.end());
  GLINT_CHECK(taken == given, BadModel,
              "{}: components.denoiser.inputs: prompts of family {} give {}, but the denoiser takes {}",
              where, manifest.family, fmt::join(given, ", "), fmt::join(taken, ", "));
}

/// Rules between fields.
void check(const Manifest& manifest, const std::string& where) {
  check_text(manifest, where);
  for (const auto& [name, component] : manifest.components) {
    if (!is_denoiser(name)) continue;
    const bool takes =
        std::find(component.inputs.begin(), component.inputs.end(), "guidance") != component.inputs.end();
    GLINT_CHECK(takes == manifest.guidance.embedded || name != "denoiser", BadModel,
                "{}: guidance.embedded is {}, but components.denoiser.inputs has {}'guidance'", where,
                manifest.guidance.embedded, takes ? "" : "no ");
  }
  const Backend backend = manifest.components.at("denoiser").backend;
  GLINT_CHECK(manifest.adapters.empty() || backend == Backend::TorchScript, BadModel,
              "{}: adapters: only torchscript denoisers can have them, components.denoiser is {}", where,
              to_string(backend));
}

}  // namespace

const char* to_string(Backend backend) {
  switch (backend) {
    case Backend::TorchScript: return "torchscript";
    case Backend::ExportedProgram: return "pt2";
    case Backend::AotInductor: return "aoti";
    case Backend::Safetensors: return "safetensors";
    case Backend::Words: return "words";
    case Backend::ClipBpe: return "clip-bpe";
    case Backend::SentencePiece: return "sentencepiece";
  }
  return "unknown";
}

const char* to_string(TimeUnit unit) {
  switch (unit) {
    case TimeUnit::Timestep: return "timestep";
    case TimeUnit::Sigma: return "sigma";
    case TimeUnit::Unit: return "unit";
  }
  return "unknown";
}

bool is_denoiser(std::string_view component) {
  return component == "denoiser" || component == "weak_denoiser" || component.starts_with("denoiser_");
}

bool is_tokenizer(std::string_view component) {
  return component == "tokenizer" || component.starts_with("tokenizer_");
}

Manifest parse_manifest(std::string_view text, const std::string& where) {
  const auto document = detail::parse_json(text, where);
  Manifest manifest;
  FieldReader reader(document, where, "");
  fields(reader, manifest);
  reader.finish();
  check(manifest, where);
  return manifest;
}

Manifest read_manifest(const std::filesystem::path& folder) {
  std::error_code ignored;
  GLINT_CHECK(std::filesystem::exists(folder, ignored), NotFound, "{}: no such model bundle",
              folder.string());
  GLINT_CHECK(std::filesystem::is_directory(folder, ignored), InvalidArgument,
              "{}: expected a model bundle, which is a folder with a model.json", folder.string());
  const auto path = folder / "model.json";
  GLINT_CHECK(std::filesystem::exists(path, ignored), NotFound,
              "{}: not a model bundle: there is no model.json in it", folder.string());
  return parse_manifest(detail::MappedFile(path).text(), path.string());
}

std::vector<std::string> manifest_fields() {
  std::vector<std::string> names;
  FieldLister lister(names, "");
  Manifest unused;
  fields(lister, unused);
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace glint
