// glint inspect: shows what a model bundle contains and verifies its files.
#include "cli/inspect.hpp"
#include "cli/terminal.hpp"

#include <glint/attention/gain.hpp>
#include <glint/attention/policy_options.hpp>
#include <glint/bundle/manifest.hpp>
#include <glint/core/parameterization.hpp>
#include <glint/io/sha256.hpp>
#include <glint/pipeline/pipeline.hpp>

#include <fmt/format.h>

#include <cmath>
#include <memory>

namespace glint::cli {
namespace {

using Json = nlohmann::ordered_json;

Json describe(const std::filesystem::path& folder, const Manifest& m, bool& intact) {
  Json components = Json::object(), adapters = Json::object();
  for (const auto& [name, adapter] : m.adapters) {
    std::error_code missing;
    const auto bytes = std::filesystem::file_size(folder / adapter.file, missing);
    const bool matches = !missing && sha256_file(folder / adapter.file) == adapter.sha256;
    intact = intact && matches;
    adapters[name] = {{"file", adapter.file},
                      {"bytes", missing ? Json() : Json(bytes)},
                      {"sha256", missing   ? "missing"
                                 : matches ? "matches"
                                           : "differs"}};
  }
  for (const auto& [role, component] : m.components) {
    const std::filesystem::path file = folder / component.file;
    std::error_code missing;
    const auto bytes = std::filesystem::file_size(file, missing);
    const bool matches = !missing && sha256_file(file) == component.sha256;
    intact = intact && matches;
    const std::string& dtype = component.compute.empty() ? component.dtype : component.compute;
    components[role] = {
        {"file", component.file},
        {"backend", is_tokenizer(role) ? enum_name(component.tokenizer) : enum_name(component.backend)},
        {"dtype", is_tokenizer(role) ? Json() : Json(dtype)},
        {"bytes", missing ? Json() : Json(bytes)},
        {"inputs", component.inputs},
        {"sha256", missing   ? "missing"
                   : matches ? "matches"
                             : "differs"}};
  }
  const auto size = [](const std::optional<int64_t>& v) { return v ? Json(*v) : Json(); };
  return {{"name", m.name},
          {"sha256", sha256_file(folder / "model.json")},
          {"family", m.family},
          {"parameterization", enum_name(m.parameterization)},
          {"noise", enum_name(m.schedule.kind)},
          {"latent",
           {{"channels", m.latent.channels},
            {"height", size(m.latent.height)},
            {"width", size(m.latent.width)},
            {"frames", size(m.latent.frames)},
            {"spatial_scale", m.latent.spatial_scale},
            {"multiple", m.latent.multiple},
            {"largest", size(m.latent.largest)}}},
          {"guidance",
           {{"null_branch", m.guidance.uncond_branch},
            {"embedded", m.guidance.embedded},
            {"default", m.guidance.default_scale},
            {"zero_null", m.guidance.zero_uncond}}},
          {"default_steps", size(m.default_steps)},
          {"default_solver", m.default_solver.empty() ? Json() : Json(m.default_solver)},
          {"default_filters", m.default_filters},
          {"torch", m.torch},
          {"components", components},
          {"adapters", adapters}};
}

/// Returns the denoiser's attention calls at its default size. Networks of variable size run at two small
/// sizes instead and extrapolate: all token counts are linear in the number of latent pixels.
std::vector<AttentionCall> attention_calls(const Pipeline& pipeline, GenerateRequest request) {
  const LatentSpec& latent = pipeline.bundle().manifest().latent;
  if (latent.fixed_size) return pipeline.attention_calls(request);
  GLINT_CHECK(latent.height && latent.width && (!latent.frame_scale || latent.frames), InvalidArgument,
              "the model has no default size");
  const int64_t small = std::max<int64_t>(1, 16 / latent.multiple) * latent.multiple;
  const double pixels = static_cast<double>(*latent.height * *latent.width * latent.frames.value_or(1));
  if (latent.frame_scale) request.frames = 1;
  request.height = request.width = small * latent.spatial_scale;
  std::vector<AttentionCall> calls = pipeline.attention_calls(request);
  request.width = 2 * small * latent.spatial_scale;
  const std::vector<AttentionCall> wider = pipeline.attention_calls(request);
  GLINT_CHECK(calls.size() == wider.size(), BadModel, "its number of layers depends on the size");
  const auto extrapolate = [&](int64_t& count, int64_t wide) {
    const double more = pixels / static_cast<double>(small * small) - 1.0;
    count += std::llround(static_cast<double>(wide - count) * more);
  };
  for (size_t i = 0; i < calls.size(); ++i) {
    extrapolate(calls[i].queries, wider[i].queries);
    extrapolate(calls[i].keys, wider[i].keys);
  }
  return calls;
}

/// Runs the network to describe the attention layers and a policy's speed-up bound there, or says why it is
/// unknown.
Json describe_attention(const ModelArguments& model, const std::string& attention) {
  const Choice choice = parse_choice(attention);
  const AttentionPolicy policy = builtins().attention(choice);
  Json layers = Json::array();
  try {
    const Pipeline pipeline(open_model(model, true, false));
    for (AttentionCall call : attention_calls(pipeline, {.with = {choice}})) {
      call.kind = kind_at(policy, call);
      layers.push_back({{"layer", call.layer},
                        {"heads", call.heads},
                        {"head_size", call.head_size},
                        {"queries", call.queries},
                        {"keys", call.keys},
                        {"kind", enum_name(call.kind)},
                        {"gain_bound", gain_bound(policy, call)}});
    }
  } catch (const Error& error) {
    return {{"policy", attention}, {"unknown", error.what()}};
  }
  return {{"policy", attention}, {"layers", layers}};
}

void print_attention(const Json& attention) {
  if (attention.contains("unknown")) {
    print("attention: its layers cannot be told: {}\n", attention["unknown"].get<std::string>());
    return;
  }
  print("attention under {}, at the model's default size:\n{:>5} {:>5} {:>9} {:>7} {:>7}  {:6} {:>6}\n",
        attention["policy"].get<std::string>(), "layer", "heads", "head size", "queries", "keys", "kind",
        "bound");
  for (const Json& layer : attention["layers"])
    print("{:>5} {:>5} {:>9} {:>7} {:>7}  {:6} {:>5.1f}x\n", layer["layer"].get<int64_t>(),
          layer["heads"].get<int64_t>(), layer["head_size"].get<int64_t>(), layer["queries"].get<int64_t>(),
          layer["keys"].get<int64_t>(), layer["kind"].get<std::string>(), layer["gain_bound"].get<double>());
}

/// Formats a size in the largest unit in which it is at least 1.
std::string size_text(const Json& bytes) {
  if (bytes.is_null()) return "missing";
  auto size = bytes.get<double>();
  for (const char* unit : {"B", "kB", "MB"}) {
    if (size < 1000.0) return fmt::format("{:.{}f} {}", size, size < 10.0 && unit[0] != 'B' ? 1 : 0, unit);
    size /= 1000.0;
  }
  return fmt::format("{:.1f} GB", size);
}

/// Describes the default size of the model's images or videos.
std::string size_of(const Manifest& m) {
  const LatentSpec& latent = m.latent;
  const char* what = latent.frame_scale ? "videos" : "pictures";
  if (!latent.height || !latent.width) return fmt::format("{} of any size", what);
  std::string text = fmt::format("{} of {} x {} px", what, *latent.width * latent.spatial_scale,
                                 *latent.height * latent.spatial_scale);
  if (latent.frame_scale && latent.frames)
    text += fmt::format(", {} frames", (*latent.frames - 1) * *latent.frame_scale + 1);
  return text + (latent.fixed_size ? ", no other" : "");
}

void print_file(const std::string& name, const std::string& runs, const Json& file) {
  const std::string state = file["sha256"].get<std::string>();
  print("  {:18} {:13} {:>8}  {}\n", name, runs, size_text(file["bytes"]),
        state == "matches" ? "matches model.json" : state + "!");
}

void print_model(const Manifest& m, const Json& d) {
  print("{}: {} model, predicts {} of {} noise\n", m.name, m.family, enum_name(m.parameterization),
        enum_name(m.schedule.kind));
  print("  makes       {}\n", size_of(m));
  print("  defaults    {} steps, solver {}{}{}, guidance {}{}\n", m.default_steps.value_or(20),
        m.default_solver.empty() ? "of its kind" : m.default_solver,
        m.default_filters.empty() ? "" : " with ", joined_text(m.default_filters, " + "),
        m.guidance.default_scale, m.guidance.embedded ? " (an input of the network)" : "");
  print("  made with   torch {}\n", m.torch.empty() ? "of unknown version" : m.torch);
  print("  model.json  SHA-256 {}\n", d["sha256"].get<std::string>());
  print("components\n");
  for (const auto& [role, c] : d["components"].items()) print_file(role, c["backend"].get<std::string>(), c);
  if (!d["adapters"].empty()) print("adapters\n");
  for (const auto& [name, a] : d["adapters"].items()) print_file(name, "safetensors", a);
  if (d.contains("attention")) print_attention(d["attention"]);
}

}  // namespace

int inspect(InspectArguments& args) {
  const std::filesystem::path folder = find_model(args.model.name);
  bool intact = true;
  const Manifest manifest = read_manifest(folder);
  Json description = describe(folder, manifest, intact);
  if (!args.attention.empty())
    description["attention"] =
        intact ? describe_attention(args.model, args.attention)
               : Json{{"policy", args.attention}, {"unknown", "the files are not intact"}};
  if (args.json) {
    print_json(description);
  } else {
    print_model(manifest, description);
  }
  if (!intact)
    spdlog::error("{}: some files are missing or are not the ones the manifest was written for",
                  folder.string());
  return intact ? kOk : kFailed;
}

}  // namespace glint::cli
