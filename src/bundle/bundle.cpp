#include "network/loaders.hpp"

#include <glint/core/parameterization.hpp>
#include <glint/core/error.hpp>
#include <glint/io/sha256.hpp>
#include <glint/lora/adapter.hpp>
#include <glint/bundle/bundle.hpp>
#include <glint/bundle/network_model.hpp>
#include <glint/text/prompt_encoder.hpp>
#include <glint/text/subword_tokenizers.hpp>
#include <glint/vae/image_decoder.hpp>
#include <glint/vae/image_encoder.hpp>
#include <glint/vae/video_decoder.hpp>
#include <glint/vae/video_encoder.hpp>
#include <glint/version.hpp>

#include <algorithm>
#include <mutex>

namespace glint {
namespace {

/// "2.11" of "2.11.0+cpu": files and compiled code change with these two numbers.
std::string_view minor_version(std::string_view version) {
  const size_t dot = version.find('.');
  const size_t end = dot == version.npos ? dot : version.find_first_not_of("0123456789", dot + 1);
  return version.substr(0, end);
}

/// Whether the torch that made the files is one whose files this one knows for sure; it is if nobody tells.
bool known_torch(const std::string& made_with) {
  return made_with.empty() || minor_version(made_with) == minor_version(torch_version());
}

/// The shape of one sample's latents, -1 where the size is the request's.
std::vector<int64_t> latent_sizes(const LatentSpec& latent) {
  std::vector<int64_t> shape{latent.channels};
  if (latent.frame_scale) shape.push_back(-1);
  for (const auto& side : {latent.height, latent.width})
    shape.push_back(latent.fixed_size && side ? *side : -1);
  return shape;
}

/// load_network, whose refusals also tell which torch made the file: mostly that is the reason.
std::shared_ptr<const Network> load_told(const std::filesystem::path& path, Backend backend,
                                        const LoadOptions& options, const std::string& made_with) {
  try {
    return load_network(path, backend, options);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::BadModel || made_with.empty() || made_with == torch_version()) throw;
    fail(ErrorCode::BadModel, "{} (made with torch {}, loaded with torch {}{})", error.what(), made_with,
         torch_version(), known_torch(made_with) ? "" : "; export it again with this one");
  }
}

std::shared_ptr<const Tokenizer> load_tokenizer(const std::filesystem::path& path,
                                                const Component& component) {
  switch (component.backend) {
    case Backend::Words: return std::make_shared<const WordTokenizer>(WordTokenizer::load(path));
    case Backend::ClipBpe:
      return std::make_shared<const ClipTokenizer>(ClipTokenizer::load(path, component.frame));
    case Backend::SentencePiece:
      return std::make_shared<const SentencePieceTokenizer>(
          SentencePieceTokenizer::load(path, component.frame));
    default: break;
  }
  fail(ErrorCode::InvalidArgument, "{}: backend '{}' is no tokenizer", path.string(),
       to_string(component.backend));
}

/// A wish for another precision than the denoiser was traced in cannot be met.
void check_dtype(const Manifest& manifest, const std::string& wanted) {
  if (wanted.empty()) return;
  detail::parse_dtype(wanted);
  const std::string& compute = manifest.components.at("denoiser").compute;
  GLINT_CHECK(compute.empty() || compute == wanted, InvalidArgument,
              "dtype: model '{}' was exported to compute in {}, got {}; another precision is another export",
              manifest.name, compute, wanted);
}

/// What bundles share that differ in their adapters alone.
struct Loaded {
  // Guards the caches, also those that are not shared. Held while a component loads: loading is rare, and two loads at
  // once would only be slower.
  std::recursive_mutex mutex;
  std::map<std::string, std::shared_ptr<const Network>> modules;
  std::map<std::string, std::shared_ptr<const Tokenizer>> tokenizers;
  std::map<std::string, std::shared_ptr<const TextEncoder>> text_encoders;
  std::shared_ptr<const PromptEncoder> prompt_encoder;
  std::shared_ptr<const ImageDecoder> decoder;
  std::shared_ptr<const ImageEncoder> encoder;
  std::shared_ptr<const VideoDecoder> video_decoder;
  std::shared_ptr<const VideoEncoder> video_encoder;
};

}  // namespace

struct Bundle::State {
  std::filesystem::path folder;
  LoadOptions options;
  Manifest manifest;
  std::shared_ptr<Loaded> loaded = std::make_shared<Loaded>();
  std::map<std::string, std::shared_ptr<const Model>> models;
  std::optional<std::map<std::string, AdapterFile>> adapters;
  std::map<std::string, AdaptedNetwork> adapted;  // by component
  Adapters prompt_scales;                         // the last ones text encoders were asked for with
  std::shared_ptr<const PromptEncoder> prompt_encoder;

  const Component& component(const std::string& name) const {
    const auto found = manifest.components.find(name);
    GLINT_CHECK(found != manifest.components.end(), NotFound, "{}: the bundle has no component '{}'",
                folder.string(), name);
    return found->second;
  }

  /// The dtype a component computes in: what it was traced in if it tells, else what the caller wishes, where the backend
  /// can follow, else what it is made for.
  std::string dtype(const Component& component) const {
    if (!component.compute.empty()) return component.compute;
    if (component.backend != Backend::TorchScript && component.backend != Backend::Safetensors)
      return component.dtype;
    if (!options.dtype.empty()) return options.dtype;
    // Half precision saves space in the file; computing in it is the caller's choice, since a network has to be
    // traced for it (its time embedding above all).
    const bool half = component.dtype == "float16" || component.dtype == "bfloat16";
    return half ? "float32" : component.dtype;
  }

  /// What the encoder or decoder of this name is called with. A model makes either pictures or videos.
  VaeOptions vae_options(const std::string& name, bool video) const {
    const auto& latent = manifest.latent;
    GLINT_CHECK(latent.frame_scale.has_value() == video, InvalidArgument,
                "components.{}: model '{}' makes {}", name, manifest.name,
                video ? "pictures, not videos" : "videos, not pictures");
    return {.channels = latent.channels,
            .spatial_scale = latent.spatial_scale,
            .frame_scale = latent.frame_scale.value_or(1),
            .scaling_factor = latent.scaling_factor,
            .shift_factor = latent.shift_factor,
            .dtype = dtype(component(name)),
            .device = options.device};
  }

  /// The path of a file, once its bytes are known to be what the manifest says at `place`.
  std::filesystem::path checked_file(const std::string& file, const std::string& sha256,
                                     const std::string& place) const {
    const auto path = folder / file;
    const auto actual = sha256_file(path);
    GLINT_CHECK(
        actual == sha256, BadModel,
        "{}: the file is not the one {} describes (damaged or replaced?): expected SHA-256 {}, got {}",
        path.string(), place, sha256, actual);
    return path;
  }
  std::filesystem::path checked_file(const std::string& name) const {
    return checked_file(component(name).file, component(name).sha256, "components." + name);
  }

  void check_component(const AdapterFile& file, const std::string& component,
                       const std::vector<LowRank>& layers) const {
    if (manifest.components.contains(component)) return;
    std::string keys;
    for (size_t i = 0; i < std::min<size_t>(layers.size(), 8); ++i)
      keys += (i > 0 ? ", " : "") + layers[i].key;
    fail(ErrorCode::InvalidArgument,
         "{}: made for another model? This one has no '{}' for its {} layers: {}{}", file.path, component,
         layers.size(), keys, layers.size() > 8 ? ", ..." : "");
  }

  /// The adapters by name, read when they are first needed.
  const std::map<std::string, AdapterFile>& adapter_files() {
    if (adapters) return *adapters;
    std::map<std::string, AdapterFile> files;
    for (const auto& [name, entry] : manifest.adapters)
      files.emplace(name, read_adapter(checked_file(entry.file, entry.sha256, "adapters." + name)));
    for (const auto& [name, path] : options.adapters) files.emplace(name, read_adapter(path));
    for (const auto& [name, file] : files)
      for (const auto& [component, layers] : file.layers) check_component(file, component, layers);
    adapters = std::move(files);
    return *adapters;
  }
};

Bundle Bundle::load(const std::filesystem::path& folder, const LoadOptions& options) {
  auto state = std::make_shared<State>();
  state->folder = folder;
  state->options = options;
  detail::parse_device(options.device);
  state->manifest = read_manifest(folder);
  check_dtype(state->manifest, options.dtype);
  const auto check_file = [&](const std::string& file, const std::string& place) {
    std::error_code ignored;
    GLINT_CHECK(std::filesystem::is_regular_file(folder / file, ignored), NotFound,
                "{}: no such file, though {} names it", (folder / file).string(), place);
  };
  for (const auto& [name, component] : state->manifest.components)
    check_file(component.file, "components." + name);
  for (const auto& [name, adapter] : state->manifest.adapters) check_file(adapter.file, "adapters." + name);
  const Manifest& manifest = state->manifest;
  const bool of_torch =
      std::any_of(manifest.components.begin(), manifest.components.end(), [](const auto& c) {
        return c.second.backend == Backend::TorchScript || c.second.backend == Backend::ExportedProgram;
      });
  if (options.warn && of_torch && !known_torch(manifest.torch))
    options.warn(
        fmt::format("model '{}' was made with torch {} and is loaded with torch {}: results may differ in "
                    "their last digits; export it again if a component is refused",
                    manifest.name, manifest.torch, torch_version()));
  state->options.adapters.clear();
  return Bundle(std::move(state)).with_adapters(options.adapters);
}

Bundle Bundle::with_adapters(const std::map<std::string, std::filesystem::path>& files) const {
  auto state = std::make_shared<State>();
  state->folder = folder();
  state->options = options();
  state->manifest = manifest();
  state->loaded = state_->loaded;
  for (const auto& [name, path] : files) {
    GLINT_CHECK(
        !name.empty() && !state->manifest.adapters.contains(name) && !state->options.adapters.contains(name),
        InvalidArgument, "adapters: expected a name that is not taken, got '{}' for {}", name, path.string());
    std::error_code ignored;
    GLINT_CHECK(std::filesystem::is_regular_file(path, ignored), NotFound, "adapters.{}: {}: no such file",
                name, path.string());
    state->options.adapters.emplace(name, path);
  }
  return Bundle(std::move(state));
}

AdaptedNetwork Bundle::adapted(const std::string& component) const {
  const std::lock_guard lock(state_->loaded->mutex);
  if (const auto found = state_->adapted.find(component); found != state_->adapted.end())
    return found->second;
  // Before the network is loaded, which may take long.
  const Backend backend = state_->component(component).backend;
  for (const auto& [name, file] : state_->adapter_files())
    GLINT_CHECK(
        !file.layers.contains(component) || backend == Backend::TorchScript, InvalidArgument,
        "adapters.{}: components.{} cannot have any: the weights of {} {} file are fixed; export it as "
        "torchscript, not frozen",
        name, component, backend == Backend::AotInductor ? "an" : "a", to_string(backend));
  const std::shared_ptr<const Network> network = module(component);
  std::map<std::string, WeightChanges> adapters;
  for (const auto& [name, file] : state_->adapter_files()) {
    GLINT_CHECK(
        !file.layers.contains(component) || !network->weights().empty(), InvalidArgument,
        "adapters.{}: components.{} cannot have any: {} was frozen, its weights are constants; export it "
        "without torch.jit.freeze",
        name, component, state_->component(component).file);
    adapters.emplace(name, match_adapter(file, component, network->weights()));
  }
  return state_->adapted
      .emplace(component, AdaptedNetwork(network, std::move(adapters), options().adapter_sets))
      .first->second;
}

const Manifest& Bundle::manifest() const { return state_->manifest; }
const std::filesystem::path& Bundle::folder() const { return state_->folder; }
const LoadOptions& Bundle::options() const { return state_->options; }

std::string Bundle::dtype(const std::string& name) const {
  const Component& component = state_->component(name);
  const std::string computes_in = state_->dtype(component);
  return component.backend == Backend::Safetensors && computes_in != "float64" ? "float32" : computes_in;
}

std::shared_ptr<const Network> Bundle::module(const std::string& name) const {
  const std::lock_guard lock(state_->loaded->mutex);
  auto& module = state_->loaded->modules[name];
  if (module) return module;
  const auto& component = state_->component(name);
  GLINT_CHECK(!is_tokenizer(name), InvalidArgument, "components.{}: a tokenizer is no network", name);
  auto options = state_->options;
  const bool as_stored = component.compute == component.dtype;
  options.dtype = as_stored ? std::string(kStored) : state_->dtype(component);
  options.gradients = options.gradients && component.backend == Backend::TorchScript;
  GLINT_CHECK(
      component.backend != Backend::AotInductor || known_torch(state_->manifest.torch), BadModel,
      "components.{}: {} was made with torch {}, this is torch {}; a compiled package runs only with the "
      "torch that compiled it: export it again, or as torchscript or pt2",
      name, component.file, state_->manifest.torch, torch_version());
  auto loaded = load_told(state_->checked_file(name), component.backend, options, state_->manifest.torch);
  const std::vector<std::string> takes = loaded->inputs();
  GLINT_CHECK(takes.empty() || takes == component.inputs, BadModel,
              "components.{}.inputs: the network in {} takes [{}], got [{}]", name, component.file,
              fmt::join(takes, ", "), fmt::join(component.inputs, ", "));
  try {
    loaded->check_latents(latent_sizes(state_->manifest.latent));
  } catch (const Error& error) {
    fail(ErrorCode::BadModel, "components.{}: {}", name, error.what());
  }
  return module = std::move(loaded);
}

std::shared_ptr<const Model> Bundle::model(const std::string& name) const {
  const std::lock_guard lock(state_->loaded->mutex);
  auto& model = state_->models[name];
  if (model) return model;
  const auto& component = state_->component(name);
  GLINT_CHECK(is_denoiser(name), InvalidArgument, "components.{}: not a denoiser", name);
  auto info = model_info(state_->manifest);
  const auto& names = component.inputs;
  info.embedded_guidance = std::find(names.begin(), names.end(), "guidance") != names.end();
  info.device = state_->options.device;
  info.gradients = component.backend == Backend::TorchScript;
  NetworkInputs inputs{.names = names,
                      .time = component.time,
                      .train_steps = state_->manifest.schedule.vp.train_steps,
                      .dtype = state_->dtype(component),
                      .device = state_->options.device,
                      .patch = state_->manifest.latent.patch};
  AdaptedNetwork network = name == "denoiser" ? adapted(name) : AdaptedNetwork(module(name));
  return model = std::make_shared<const NetworkModel>(std::move(network), std::move(info), std::move(inputs));
}

std::shared_ptr<const Tokenizer> Bundle::tokenizer(const std::string& name) const {
  const std::lock_guard lock(state_->loaded->mutex);
  auto& tokenizer = state_->loaded->tokenizers[name];
  if (tokenizer) return tokenizer;
  const auto& component = state_->component(name);
  GLINT_CHECK(is_tokenizer(name), InvalidArgument, "components.{}: not a tokenizer", name);
  return tokenizer = load_tokenizer(state_->checked_file(name), component);
}

std::shared_ptr<const TextEncoder> Bundle::text_encoder(const std::string& name) const {
  const std::lock_guard lock(state_->loaded->mutex);
  auto& encoder = state_->loaded->text_encoders[name];
  if (!encoder) encoder = text_encoder(name, module(name));
  return encoder;
}

std::shared_ptr<const TextEncoder> Bundle::text_encoder(const std::string& name,
                                                        std::shared_ptr<const Network> network) const {
  constexpr std::string_view kRole = "text_encoder";
  const auto& component = state_->component(name);
  GLINT_CHECK(name.starts_with(kRole), InvalidArgument, "components.{}: not a text encoder", name);
  TextEncoderOptions options{.device = state_->options.device};
  if (!component.inputs.empty()) options.inputs = component.inputs;
  return std::make_shared<const TextEncoder>(tokenizer("tokenizer" + name.substr(kRole.size())),
                                             std::move(network), std::move(options));
}

std::shared_ptr<const PromptEncoder> Bundle::prompt_encoder(const Adapters& scales) const {
  const std::lock_guard lock(state_->loaded->mutex);
  const auto names = PromptEncoder::components(manifest().family);
  GLINT_CHECK(!names.empty() && has(names.front()), NotFound,
              "prompt: model '{}' has no text encoder; give its conditioning instead", manifest().name);
  Adapters used;  // those that change a text encoder
  for (const auto& [adapter, file] : state_->adapter_files()) {
    const auto scale = scales.find(adapter);
    const auto changed = [&](const std::string& name) { return file.layers.contains(name); };
    if (scale != scales.end() && scale->second != 0.0 && std::any_of(names.begin(), names.end(), changed))
      used.emplace(*scale);
  }
  auto& encoder = used.empty() ? state_->loaded->prompt_encoder : state_->prompt_encoder;
  if (encoder && (used.empty() || state_->prompt_scales == used)) return encoder;
  std::vector<std::shared_ptr<const TextEncoder>> encoders;
  for (const std::string& name : names)
    encoders.push_back(used.empty() ? text_encoder(name) : text_encoder(name, adapted(name).at(used)));
  encoder = std::make_shared<const PromptEncoder>(manifest().family, std::move(encoders));
  if (!used.empty()) state_->prompt_scales = used;
  return encoder;
}

std::shared_ptr<const ImageDecoder> Bundle::decoder() const {
  const std::lock_guard lock(state_->loaded->mutex);
  auto& decoder = state_->loaded->decoder;
  if (decoder) return decoder;
  auto options = state_->vae_options("vae_decoder", false);
  return decoder = std::make_shared<const ImageDecoder>(module("vae_decoder"), std::move(options));
}

std::shared_ptr<const ImageEncoder> Bundle::encoder() const {
  const std::lock_guard lock(state_->loaded->mutex);
  auto& encoder = state_->loaded->encoder;
  if (encoder) return encoder;
  auto options = state_->vae_options("vae_encoder", false);
  return encoder = std::make_shared<const ImageEncoder>(module("vae_encoder"), std::move(options));
}

std::shared_ptr<const VideoDecoder> Bundle::video_decoder() const {
  const std::lock_guard lock(state_->loaded->mutex);
  auto& decoder = state_->loaded->video_decoder;
  if (decoder) return decoder;
  auto options = state_->vae_options("vae_decoder", true);
  return decoder = std::make_shared<const VideoDecoder>(module("vae_decoder"), module("vae_decoder_next"),
                                                        std::move(options));
}

std::shared_ptr<const VideoEncoder> Bundle::video_encoder() const {
  const std::lock_guard lock(state_->loaded->mutex);
  auto& encoder = state_->loaded->video_encoder;
  if (encoder) return encoder;
  auto options = state_->vae_options("vae_encoder", true);
  return encoder = std::make_shared<const VideoEncoder>(module("vae_encoder"), module("vae_encoder_next"),
                                                        std::move(options));
}

void Bundle::preload() const {
  for (const auto& [name, unused] : manifest().components) {
    if (is_denoiser(name))
      model(name);
    else if (is_tokenizer(name))
      tokenizer(name);
    else
      module(name);
  }
  const auto encoders = PromptEncoder::components(manifest().family);
  if (!encoders.empty() && has(encoders.front())) prompt_encoder();
  const bool video = manifest().latent.frame_scale.has_value();
  if (has("vae_decoder") && video) video_decoder();
  if (has("vae_decoder") && !video) decoder();
}

}  // namespace glint
