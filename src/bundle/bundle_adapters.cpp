// A bundle's adapters, and its components with adapters applied.
#include "bundle/bundle_state.hpp"
#include "lora/adapter_content.hpp"
#include "network/host_state.hpp"

#include <algorithm>

namespace glint {
namespace {

/// Kohya's scripts number FLUX's T5 as SD3's, which is the third text encoder there.
void rename_third_encoder(const Manifest& manifest, AdapterFile& file) {
  if (manifest.family != "flux") return;
  auto third = file.layers.extract("text_encoder_3");
  if (third.empty()) return;
  std::vector<WeightChange>& second = file.layers["text_encoder_2"];
  second.insert(second.end(), third.mapped().begin(), third.mapped().end());
}

/// Drops the layers of components that the bundle lacks.
/// Errors:  InvalidArgument with their keys if they would do something and the file is not partial.
void keep_known_components(const Manifest& manifest, AdapterFile& file, const AdapterWarn& warn) {
  for (auto it = file.layers.begin(); it != file.layers.end();) {
    const auto& [component, layers] = *it;
    if (manifest.components.contains(component)) {
      ++it;
      continue;
    }
    const std::vector<std::string> lost = detail::keys_with_effect(layers);
    GLINT_CHECK(lost.empty() || file.partial, InvalidArgument,
                "{}: made for another model? This one has no '{}' for its {} layers: {}; with ':partial' "
                "they are left "
                "out",
                file.path, component, lost.size(), detail::listed(lost));
    if (!lost.empty() && warn)
      warn(message("{}: left out {} layers of '{}', which this model has not: {}", file.path, lost.size(),
                   component, detail::listed(lost)));
    it = file.layers.erase(it);
  }
}

}  // namespace

const std::map<std::string, AdapterFile>& Bundle::State::adapter_files() {
  if (adapters) return *adapters;
  std::map<std::string, AdapterFile> files;
  for (const auto& [name, entry] : manifest.adapters)
    files.emplace(name, detail::parse_adapter(checked_content(entry.file, entry.sha256, "adapters." + name),
                                              (folder / entry.file).string()));
  for (const auto& [name, source] : options.adapters) files.emplace(name, read_adapter(source, options.warn));
  for (auto& [name, file] : files) {
    rename_third_encoder(manifest, file);
    keep_known_components(manifest, file, options.warn);
  }
  adapters = std::move(files);
  return *adapters;
}

Bundle Bundle::with_adapters(const std::map<std::string, AdapterSource>& files) const {
  auto state = std::make_shared<State>();
  state->folder = folder();
  state->options = options();
  state->manifest = manifest();
  state->sha256 = sha256();
  state->loaded = state_->loaded;
  for (const auto& [name, source] : files) {
    GLINT_CHECK(
        !name.empty() && !state->manifest.adapters.contains(name) && !state->options.adapters.contains(name),
        InvalidArgument, "adapters: expected a name that is not taken, got '{}' for {}", name,
        source.path.string());
    std::error_code ignored;
    const std::filesystem::path file = detail::adapter_path(source.path);
    GLINT_CHECK(std::filesystem::is_regular_file(file, ignored), NotFound, "adapters.{}: {}: no such file",
                name, file.string());
    state->options.adapters.emplace(name, source);
  }
  return Bundle(std::move(state));
}

AdaptedNetwork Bundle::adapted(const std::string& component) const {
  return detail::torch_boundary(ErrorCode::Internal, "components." + component,
                                [&] { return make_adapted(component); });
}

AdaptedNetwork Bundle::make_adapted(const std::string& component) const {
  const std::lock_guard lock(state_->loaded->mutex);
  if (const auto found = state_->adapted.find(component); found != state_->adapted.end())
    return *found->second;
  // Fail before loading the network, which may take long.
  const Backend backend = state_->component(component).backend;
  for (const auto& [name, file] : state_->adapter_files())
    GLINT_CHECK(
        !file.layers.contains(component) || facts_of(backend).exchangeable, InvalidArgument,
        "adapters.{}: components.{} cannot have any: the weights of its {} file are fixed; export it as "
        "torchscript, not frozen",
        name, component, enum_name(backend));
  const std::shared_ptr<const detail::HeldNetwork> base = state_->held(component);
  const auto held = base->hold();  // the same weights for all adapters
  std::map<std::string, WeightChanges> adapters;
  for (const auto& [name, file] : state_->adapter_files()) {
    GLINT_CHECK(
        !file.layers.contains(component) || !base->weights().empty(), InvalidArgument,
        "adapters.{}: components.{} cannot have any: {} was frozen, its weights are constants; export it "
        "without torch.jit.freeze",
        name, component, state_->component(component).file);
    adapters.emplace(name, match_adapter(file, component, base->weights(), options().warn));
  }
  auto make_room = [ledger = state_->loaded->ledger, component](int64_t bytes) {
    ledger->make_room(component, bytes);
  };
  const auto made = std::make_shared<const AdaptedNetwork>(base, std::move(adapters), options().adapter_sets,
                                                           std::move(make_room));
  base->adapted_by(made);
  return *state_->adapted.emplace(component, made).first->second;
}

WeightBytes Bundle::State::adapter_bytes() const {
  WeightBytes sum;
  const auto add = [&](const AdapterMatrix& matrix) {
    for (const at::Tensor* tensor : {&matrix.whole, &matrix.up, &matrix.down, &matrix.core}) sum.add(*tensor);
  };
  if (!adapters) return sum;
  for (const auto& [name, file] : *adapters)
    for (const auto& [component, changes] : file.layers)
      for (const WeightChange& change : changes) {
        add(change.first);
        add(change.second);
        sum.add(change.magnitude);
      }
  return sum;
}

}  // namespace glint
