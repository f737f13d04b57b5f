// The `fields` functions here and in component_fields.cpp define the format; docs/model.schema.json mirrors
// it for editors.
#include "bundle/component_fields.hpp"
#include "bundle/manifest_path.hpp"
#include "family/family.hpp"
#include "io/file.hpp"

#include <glint/bundle/manifest.hpp>
#include <glint/core/parameterization.hpp>

#include <fmt/format.h>

namespace glint {
namespace {

using detail::FieldLister;
using detail::FieldReader;

constexpr int64_t kFormat = 1;
constexpr int64_t kMostTrainSteps = 1'000'000;

template <typename Visitor>
void fields(Visitor& v, DynamicShift& shift) {
  v.required("base_shift", shift.base_shift);
  v.required("max_shift", shift.max_shift);
  v.required("base_tokens", shift.base_tokens);
  v.required("max_tokens", shift.max_tokens);
  v.rule(shift.base_tokens > 0, "base_tokens", "a positive number");
  v.rule(shift.max_tokens > shift.base_tokens, "max_tokens", "a number above base_tokens");
  v.choice("form", shift.form, false);
}

template <typename Visitor>
void vp_fields(Visitor& v, ScheduleSpec& schedule) {
  VpTraining& vp = schedule.vp;
  v.choice("betas", vp.betas);
  if (!Visitor::kReads || vp.betas != Betas::SquaredCosine) {
    v.required("beta_start", vp.beta_start);
    v.required("beta_end", vp.beta_end);
    v.rule(vp.beta_start > 0 && vp.beta_start < 1, "beta_start", "a number between 0 and 1");
    v.rule(vp.beta_end > vp.beta_start && vp.beta_end < 1, "beta_end", "a number between beta_start and 1");
  }
  v.optional("zero_terminal_snr", vp.zero_terminal_snr);
  v.choice("spacing", schedule.grid.spacing, false);
  int64_t offset = 0;
  v.optional("steps_offset", offset);
  v.rule(offset >= 0 && offset < vp.train_steps, "steps_offset", "an integer from 0 to train_steps - 1");
  schedule.grid.steps_offset = static_cast<int>(offset);
  v.choice("final_alpha", vp.final_alpha, false);
  v.choice("terminal", schedule.grid.terminal, false);
}

/// Reads the shift: a number, "dynamic" for FLUX's values, or an object with other values.
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
  v.choice("last_sigma", flow.spacing, false);
  v.optional("shift_terminal", flow.shift_terminal);
  const double terminal = flow.shift_terminal.value_or(0.0);
  v.rule(terminal >= 0.0 && terminal < 1.0, "shift_terminal", "a number from 0 to below 1");
}

template <typename Visitor>
void fields(Visitor& v, ScheduleSpec& schedule) {
  v.choice("kind", schedule.kind);
  int64_t train_steps = 1000;
  v.optional("train_steps", train_steps);
  v.rule(train_steps >= 2 && train_steps <= kMostTrainSteps, "train_steps", "an integer from 2 to 1000000");
  schedule.vp.train_steps = schedule.flow.train_steps = static_cast<int>(train_steps);
  GridOptions& grid = schedule.grid;
  v.choice("sigmas", grid.sigmas.named, false);
  v.optional("sigma_min", grid.sigma_min);
  v.optional("sigma_max", grid.sigma_max);
  v.rule(grid.sigma_min.value_or(1.0) > 0, "sigma_min", "a positive number");
  v.rule(grid.sigma_max.value_or(1.0) > 0, "sigma_max", "a positive number");
  v.rule(!grid.sigma_min || !grid.sigma_max || *grid.sigma_min < *grid.sigma_max, "sigma_max",
         "a number above sigma_min");
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
  std::vector<std::string_view> families;
  for (const families::Family& family : families::all()) families.push_back(family.name);
  v.choice("family", manifest.family, families);
  v.choice("parameterization", manifest.parameterization);
  v.object("schedule", true, [&](auto& inner) { fields(inner, manifest.schedule); });
  v.object("latent", true, [&](auto& inner) { fields(inner, manifest.latent); });
  v.object("guidance", false, [&](auto& inner) { fields(inner, manifest.guidance); });
  v.optional("default_steps", manifest.default_steps);
  v.rule(manifest.default_steps.value_or(1) > 0, "default_steps", "a positive integer");
  v.optional("default_solver", manifest.default_solver);
  v.optional("default_filters", manifest.default_filters);
  v.optional("absent_text", manifest.absent_text);
  const std::vector<int64_t>& absent = manifest.absent_text;
  v.rule(absent.empty() || (absent.size() == 2 && absent[0] > 0 && absent[0] <= 65536 && absent[1] > 0),
         "absent_text", "[tokens, width] of the zeros in place of a text encoder");
  v.optional("torch", manifest.torch);
  v.object("components", true, [&](auto& inner) { detail::components(inner, manifest.components); });
  v.object("adapters", false, [&](auto& inner) { detail::adapters(inner, manifest.adapters); });
}

/// Checks that a bundle with text encoders has all of its family's, except one that zeros stand for, each
/// with a tokenizer, and a denoiser that takes their outputs.
void check_text(const Manifest& manifest, const std::string& where) {
  const families::Family& family = families::find(manifest.family);
  std::vector<std::string> roles, found;
  for (const auto& [name, unused] : manifest.components)
    if (name.starts_with("text_encoder")) found.push_back(name);
  const bool zeros = !manifest.absent_text.empty();
  GLINT_CHECK(!zeros || (family.text && family.text->behind && !found.empty()), BadModel,
              "{}: absent_text: family {} can do without none of its text encoders", where, manifest.family);
  if (!family.text || found.empty()) return;
  for (size_t i = 0; i < family.encoders; ++i)
    if (!zeros || i != *family.text->behind)
      for (const char* role : {"text_encoder", "tokenizer"}) roles.push_back(families::numbered(role, i));
  for (const std::string& role : roles)
    GLINT_CHECK(manifest.components.contains(role), BadModel,
                "{}: components.{}: missing component; family {} has {}", where, role, manifest.family,
                joined_text(roles, ", "));
  for (const std::string& role : found)
    GLINT_CHECK(std::find(roles.begin(), roles.end(), role) != roles.end(), BadModel,
                "{}: components.{}: family {} has no such component, only {}", where, role, manifest.family,
                joined_text(roles, ", "));

  std::vector<std::string> taken = manifest.components.at("denoiser").inputs;
  std::erase_if(taken, [](const std::string& name) {
    return name == "latents" || name == "time" || name == "guidance" || name == "token_order";
  });
  std::vector<std::string> given(family.text->inputs.begin(), family.text->inputs.end());
  std::sort(taken.begin(), taken.end());
  std::sort(given.begin(), given.end());
  GLINT_CHECK(taken == given, BadModel,
              "{}: components.denoiser.inputs: prompts of family {} give {}, but the denoiser takes {}",
              where, manifest.family, joined_text(given, ", "), joined_text(taken, ", "));
}

/// Checks rules across fields.
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
  GLINT_CHECK(manifest.adapters.empty() || facts_of(backend).exchangeable, BadModel,
              "{}: adapters: only torchscript denoisers can have them, components.denoiser is {}", where,
              enum_name(backend));
}

}  // namespace

bool is_denoiser(std::string_view component) {
  return component == "denoiser" || component == "weak_denoiser" || component == "perturbed_denoiser" ||
         component.starts_with("denoiser_");
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

std::filesystem::path detail::manifest_path(const std::filesystem::path& folder) {
  std::error_code ignored;
  GLINT_CHECK(std::filesystem::exists(folder, ignored), NotFound, "{}: no such model bundle",
              folder.string());
  GLINT_CHECK(std::filesystem::is_directory(folder, ignored), InvalidArgument,
              "{}: expected a model bundle, which is a folder with a model.json", folder.string());
  const auto path = folder / "model.json";
  GLINT_CHECK(std::filesystem::exists(path, ignored), NotFound,
              "{}: not a model bundle: there is no model.json in it", folder.string());
  return path;
}

Manifest read_manifest(const std::filesystem::path& folder) {
  const auto path = detail::manifest_path(folder);
  return parse_manifest(detail::FileBytes(path).text(), path.string());
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
