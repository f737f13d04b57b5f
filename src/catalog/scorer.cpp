#include "bundle/component_fields.hpp"
#include "io/file.hpp"
#include "network/host_state.hpp"
#include "network/loaders.hpp"

#include <glint/bundle/component_call.hpp>
#include <glint/catalog/scorer.hpp>
#include <glint/core/error.hpp>
#include <glint/io/sha256.hpp>
#include <glint/text/tokenizer.hpp>

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstring>

namespace glint {
namespace {

namespace fs = std::filesystem;

constexpr const char* kScorerFile = "scorer.json";

/// What scorer.json says.
struct ScorerManifest {
  std::string name;
  Component network, tokenizer;
};

ScorerManifest scorer_manifest(const fs::path& path) {
  const nlohmann::json document = detail::parse_json_file(path);
  ScorerManifest manifest;
  detail::FieldReader reader(document, path.string(), "");
  int64_t format = 0;
  reader.required("format", format);
  reader.rule(format == 1, "format", "1");
  reader.required("name", manifest.name);
  const auto component = [&](const char* field, Component& out) {
    reader.object(field, true,
                  [&](detail::FieldReader& inner) { detail::component_fields(inner, out, field); });
  };
  component("scorer", manifest.network);
  component("tokenizer", manifest.tokenizer);
  reader.finish();
  const std::vector<std::string> inputs{"image", "ids"};
  GLINT_CHECK(manifest.network.inputs.empty() || manifest.network.inputs == inputs, BadModel,
              "{}: scorer.inputs: expected image, ids, got {}", path.string(),
              joined_text(manifest.network.inputs, ", "));
  return manifest;
}

/// Opens a file of the folder, which has to be the one that its manifest means.
detail::ModelFile checked_file(const fs::path& folder, const Component& component) {
  const fs::path path = folder / component.file;
  auto file = std::make_shared<const detail::HashedFile>(path);
  const std::string& found = file->sha256();
  GLINT_CHECK(found == component.sha256, BadModel, "{}: SHA-256 is {}, expected {} by {}", path.string(),
              found, component.sha256, kScorerFile);
  return file;
}

/// Returns ids [B,L], or [1,L] for one text.
at::Tensor ids_of(const Tokenizer& tokenizer, std::span<const std::string> texts) {
  const int64_t length = tokenizer.length(), rows = static_cast<int64_t>(texts.size());
  at::Tensor ids = at::empty({rows, length}, at::TensorOptions().dtype(at::kLong));
  for (int64_t row = 0; row < rows; ++row) {
    const std::vector<int64_t> words = tokenizer.encode(texts[static_cast<size_t>(row)]).ids;
    std::memcpy(ids.data_ptr<int64_t>() + row * length, words.data(), words.size() * sizeof(int64_t));
  }
  return ids;
}

/// A network called with pictures and ids.
class ScorerNetwork {
 public:
  ScorerNetwork(const std::string& name, std::shared_ptr<const Network> network, const LoadOptions& options,
                const std::string& dtype)
      : name_(name),
        network_(std::move(network)),
        device_(detail::parse_device(options.device)),
        dtype_(detail::parse_dtype(dtype)) {}

  at::Tensor operator()(const at::Tensor& pictures, const at::Tensor& ids) const {
    GLINT_CHECK(
        ids.defined(), InvalidArgument,
        "{}: takes the ids of the prompt, which this model's prompts do not have; give a scorer with a "
        "tokenizer of its own",
        name_);
    const std::vector<at::Tensor> outputs = network_->run(
        {pictures.to(device_, dtype_), ids.to(device_).expand({pictures.size(0), ids.size(1)})});
    GLINT_CHECK(!outputs.empty() && outputs.front().defined() && outputs.front().is_floating_point(),
                BadModel, "{}: the network returned no floating-point scores", name_);
    return outputs.front();
  }

 private:
  std::string name_;
  std::shared_ptr<const Network> network_;
  at::Device device_;
  at::ScalarType dtype_;
};

LoadOptions scorer_options(const Bundle& bundle, const std::string& dtype) {
  return {.device = bundle.options().device, .dtype = dtype, .trust = bundle.options().trust};
}

}  // namespace

Scorer::Scorer(std::string name, std::string identity, Call call)
    : name_(std::move(name)), identity_(std::move(identity)), call_(std::move(call)) {}

Scorer Scorer::open(const Bundle& bundle, const std::string& given) {
  const auto own = bundle.manifest().components.find(given);
  if (own != bundle.manifest().components.end()) {
    const ComponentCall call(bundle, given, "a scorer", {"image", "ids"});
    return {given, own->second.sha256, [call](const at::Tensor& pictures, const Prompt& prompt, auto) {
              return call({{"image", pictures}}, prompt);
            }};
  }
  const fs::path path(given);
  std::error_code ignored;
  GLINT_CHECK(fs::exists(path, ignored), NotFound,
              "scorer: neither a component of model '{}' nor a file or folder: '{}'", bundle.manifest().name,
              given);
  constexpr const char* kDtype = "float32";
  if (!fs::is_directory(path, ignored)) {
    detail::check_load(given, Backend::TorchScript, scorer_options(bundle, kDtype));
    const auto file = std::make_shared<const detail::HashedFile>(path);
    const LoadOptions options = scorer_options(bundle, kDtype);
    const ScorerNetwork network(given, detail::load_network(file, Backend::TorchScript, options), options,
                                kDtype);
    return {path.stem().string(), file->sha256(),
            [network](const at::Tensor& pictures, const Prompt& prompt, auto) {
              return network(pictures, named_input(prompt.cond, "ids"));
            }};
  }
  GLINT_CHECK(fs::exists(path / kScorerFile, ignored), NotFound, "scorer: {}: there is no {} in it", given,
              kScorerFile);
  const ScorerManifest manifest = scorer_manifest(path / kScorerFile);
  const std::string dtype = manifest.network.compute.empty() ? kDtype : manifest.network.compute;
  const LoadOptions options = scorer_options(bundle, dtype);
  const detail::ModelFile words = checked_file(path, manifest.tokenizer);
  const detail::FileBytes table(*words);
  const auto tokenizer =
      parse_tokenizer(table.text(), words->name(), manifest.tokenizer.tokenizer, manifest.tokenizer.frame);
  const ScorerNetwork network(
      given, detail::load_network(checked_file(path, manifest.network), manifest.network.backend, options),
      options, dtype);
  return {
      manifest.name, sha256(manifest.network.sha256 + manifest.tokenizer.sha256),
      [network, tokenizer](const at::Tensor& pictures, const Prompt&, std::span<const std::string> texts) {
        return network(pictures, ids_of(*tokenizer, texts));
      }};
}

at::Tensor Scorer::operator()(const at::Tensor& pictures, const Prompt& prompt,
                              std::span<const std::string> texts) const {
  return detail::torch_boundary(ErrorCode::Internal, name_, [&] {
    const at::Tensor score = call_(pictures, prompt, texts);
    GLINT_CHECK(score.numel() == pictures.size(0), BadModel,
                "{}: expected one score for each of {} pictures, got {}", name_, pictures.size(0),
                shape_string(score.sizes()));
    return score.flatten().to(at::kCPU, at::kDouble);
  });
}

std::vector<Scorer> open_scorers(const Bundle& bundle, const std::vector<std::string>& given) {
  std::vector<Scorer> scorers;
  for (const std::string& one : given) {
    scorers.push_back(Scorer::open(bundle, one));
    const std::string& name = scorers.back().name();
    const bool taken = std::any_of(scorers.begin(), scorers.end() - 1,
                                   [&](const Scorer& other) { return other.name() == name; });
    GLINT_CHECK(!taken, InvalidArgument, "scorers: two are called '{}'", name);
  }
  return scorers;
}

}  // namespace glint
