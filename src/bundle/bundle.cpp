#include "bundle/bundle_state.hpp"
#include "bundle/manifest_path.hpp"
#include "network/host_state.hpp"

#include <glint/io/sha256.hpp>
#include <glint/version.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace glint {
namespace {

/// Returns "2.11" for "2.11.0+cpu"; file formats and compiled code change with major.minor.
std::string_view minor_version(std::string_view version) {
  const size_t dot = version.find('.');
  const size_t end = dot == version.npos ? dot : version.find_first_not_of("0123456789", dot + 1);
  return version.substr(0, end);
}

/// Whether this torch is certain to read files made by `made_with`; true if that is unknown.
bool known_torch(const std::string& made_with) {
  return made_with.empty() || minor_version(made_with) == minor_version(torch_version());
}

/// Returns the latent shape of one sample, -1 for sizes set by the request.
std::vector<int64_t> latent_sizes(const LatentSpec& latent) {
  std::vector<int64_t> shape{latent.channels};
  if (latent.frame_scale) shape.push_back(-1);
  for (const auto& side : {latent.height, latent.width})
    shape.push_back(latent.fixed_size && side ? *side : -1);
  return shape;
}

/// Calls load_network; adds the torch version that made the file to errors, as a mismatch is the usual cause.
std::shared_ptr<const Network> load_told(const detail::ModelFile& file, Backend backend,
                                         const LoadOptions& options, const std::string& made_with) {
  try {
    return detail::load_network(file, backend, options);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::BadModel || made_with.empty() || made_with == torch_version()) throw;
    fail(ErrorCode::BadModel, "{} (made with torch {}, loaded with torch {}{})", error.what(), made_with,
         torch_version(), known_torch(made_with) ? "" : "; export it again with this one");
  }
}

void check_sha256(const std::filesystem::path& path, const std::string& place, const std::string& expected,
                  const std::string& actual) {
  GLINT_CHECK(actual == expected, BadModel,
              "{}: the file is not the one {} describes (damaged or replaced?): expected SHA-256 {}, got {}",
              path.string(), place, expected, actual);
}

std::string lower_case(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

/// Rejects any precision other than the one the denoiser was traced in.
void check_dtype(const Manifest& manifest, const std::string& wanted) {
  if (wanted.empty()) return;
  detail::parse_dtype(wanted);
  const std::string& compute = manifest.components.at("denoiser").compute;
  GLINT_CHECK(compute.empty() || compute == wanted, InvalidArgument,
              "dtype: model '{}' was exported to compute in {}, got {}; another precision is another export",
              manifest.name, compute, wanted);
}

}  // namespace

std::shared_ptr<const detail::FileBytes> Bundle::State::checked_content(const std::string& file,
                                                                        const std::string& expected,
                                                                        const std::string& place) const {
  auto content = std::make_shared<const detail::FileBytes>(folder / file);
  check_sha256(folder / file, place, expected, glint::sha256(content->text()));
  return content;
}

Bundle Bundle::load(const std::filesystem::path& folder, const LoadOptions& options) {
  return detail::at_boundary(ErrorCode::BadModel, folder.string(), [&] { return open(folder, options); });
}

Bundle Bundle::open(const std::filesystem::path& folder, const LoadOptions& options) {
  auto state = std::make_shared<State>();
  state->folder = folder;
  state->options = options;
  GLINT_CHECK(options.memory_limit >= 0, InvalidArgument, "memory_limit: expected 0 or more bytes, got {}",
              options.memory_limit);
  state->loaded = std::make_shared<Loaded>(options.memory_limit);
  detail::parse_device(options.device);
  const std::filesystem::path path = detail::manifest_path(folder);
  const detail::FileBytes content(path);
  state->sha256 = glint::sha256(content.text());
  GLINT_CHECK(options.sha256.empty() || lower_case(options.sha256) == state->sha256, BadModel,
              "sha256: {} is not the model.json that was asked for: expected {}, got {}", path.string(),
              options.sha256, state->sha256);
  state->manifest = parse_manifest(content.text(), path.string());
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
  const bool of_torch = std::any_of(
      manifest.components.begin(), manifest.components.end(),
      [](const auto& c) { return !is_tokenizer(c.first) && facts_of(c.second.backend).operators; });
  if (options.warn && of_torch && !known_torch(manifest.torch))
    options.warn(
        fmt::format("model '{}' was made with torch {} and is loaded with torch {}: results may differ in "
                    "their last digits; export it again if a component is refused",
                    manifest.name, manifest.torch, torch_version()));
  state->options.adapters.clear();
  return Bundle(std::move(state)).with_adapters(options.adapters);
}

const Manifest& Bundle::manifest() const { return state_->manifest; }
const std::filesystem::path& Bundle::folder() const { return state_->folder; }
const std::string& Bundle::sha256() const { return state_->sha256; }
const LoadOptions& Bundle::options() const { return state_->options; }

std::string Bundle::dtype(const std::string& name) const {
  const Component& component = state_->component(name);
  const std::string computes_in = state_->dtype(component);
  return facts_of(component.backend).built_in && computes_in != "float64" ? "float32" : computes_in;
}

std::shared_ptr<const Network> Bundle::network(const std::string& name) const { return state_->held(name); }

std::shared_ptr<const detail::HeldNetwork> Bundle::State::held(const std::string& name) const {
  return once(loaded->networks, name, [&] {
    ComponentFile file = file_of(name);
    file.check();
    const int64_t bytes = file.expected_bytes();
    return std::make_shared<const detail::HeldNetwork>(loaded->ledger, name, bytes,
                                                       [file = std::move(file)] { return file.load(); });
  });
}

ComponentFile Bundle::State::file_of(const std::string& name) const {
  const auto& component = this->component(name);
  GLINT_CHECK(!is_tokenizer(name), InvalidArgument, "components.{}: a tokenizer is no network", name);
  ComponentFile file{.name = name,
                     .folder = folder,
                     .component = component,
                     .options = options,
                     .torch = manifest.torch,
                     .latent = latent_sizes(manifest.latent)};
  file.options.dtype = component.compute == component.dtype ? std::string(kStored) : dtype(component);
  file.options.gradients = options.gradients && facts_of(component.backend).gradients;
  return file;
}

void ComponentFile::check() const {
  GLINT_CHECK(
      !facts_of(component.backend).compiled || known_torch(torch), BadModel,
      "components.{}: {} was made with torch {}, this is torch {}; a compiled package runs only with the "
      "torch that compiled it: export it again, or as torchscript or pt2",
      name, component.file, torch, torch_version());
  try {
    detail::check_load(component.file, component.backend, options);
  } catch (const Error& error) {
    fail(error.code(), "components.{}: {}", name, error.what());
  }
}

int64_t ComponentFile::expected_bytes() const {
  std::error_code ignored;
  const auto size = static_cast<int64_t>(std::filesystem::file_size(folder / component.file, ignored));
  if (ignored || options.dtype == kStored || !facts_of(component.backend).converts) return ignored ? 0 : size;
  const auto width = [](const std::string& dtype) {
    return static_cast<int64_t>(at::elementSize(detail::parse_dtype(dtype)));
  };
  return size / width(component.dtype) * width(options.dtype);
}

std::shared_ptr<const Network> ComponentFile::load() const {
  const auto file = std::make_shared<const detail::HashedFile>(folder / component.file);
  check_sha256(folder / component.file, "components." + name, component.sha256, file->sha256());
  auto made = load_told(file, component.backend, options, torch);
  const std::vector<std::string> takes = made->inputs();
  GLINT_CHECK(takes.empty() || takes == component.inputs, BadModel,
              "components.{}.inputs: the network in {} takes [{}], got [{}]", name, component.file,
              joined_text(takes, ", "), joined_text(component.inputs, ", "));
  try {
    made->check_latents(latent);
  } catch (const Error& error) {
    fail(ErrorCode::BadModel, "components.{}: {}", name, error.what());
  }
  return made;
}

std::map<std::string, int64_t> Bundle::memory() const {
  const std::lock_guard lock(state_->loaded->mutex);
  std::map<std::string, int64_t> bytes;
  for (const auto& [name, network] : state_->loaded->ledger->networks) {
    WeightBytes sum;
    network->add_bytes(sum);
    if (sum.total() > 0) bytes[name] = sum.total();
  }
  if (const WeightBytes files = state_->adapter_bytes(); files.total() > 0) bytes["adapters"] = files.total();
  return bytes;
}

int64_t Bundle::weight_bytes(const std::string& component) const {
  const std::lock_guard lock(state_->loaded->mutex);
  WeightBytes sum;
  const auto held = state_->loaded->ledger->networks.find(component);
  if (held != state_->loaded->ledger->networks.end()) held->second->add_bytes(sum);
  return sum.total() > 0 ? sum.total() : state_->file_of(component).expected_bytes();
}

void Bundle::free_params() const {
  const std::lock_guard lock(state_->loaded->mutex);
  for (const auto& [name, network] : state_->loaded->ledger->networks) network->release();
  state_->prompt_encoder = nullptr;  // its encoders hold changed weights
}

}  // namespace glint
