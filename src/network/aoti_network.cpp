// Loads packages compiled by AOTInductor: a shared library and its constants in a .pt2 archive.
#include "io/json.hpp"
#include "network/archive.hpp"
#include "network/host_state.hpp"

#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <dlfcn.h>

namespace glint::detail {
namespace {

/// Returns the number of glint::attention calls in a package. A document beside its library lists the
/// operators not compiled into it: {"nodes": [{"name", "node": {"target", ...}}, ...]}.
int64_t attention_calls(const ModelFile& source) {
  return with_archive(source, [&](const auto& reader) {
    caffe2::serialize::PyTorchStreamReader archive(reader);
    int64_t calls = 0;
    for (const std::string& name : archive.getAllRecords()) {
      if (!name.starts_with("data/aotinductor/model/") || !name.ends_with(".wrapper.json")) continue;
      const auto document = parse_json(text_record(archive, name), source->name() + "/" + name);
      for (const auto& entry : document.value("nodes", nlohmann::json::array()))
        calls += entry.value("/node/target"_json_pointer, "") == "glint::attention";
    }
    return calls;
  });
}

class AotiNetwork final : public Network {
 public:
  /// Loads the package at `path`; messages call it `file`.
  AotiNetwork(std::string file, const std::string& path, at::DeviceIndex device_index, int64_t bytes,
              int64_t attention_layers)
      : file_(std::move(file)),
        bytes_(bytes),
        attention_layers_(attention_layers),
        loader_(path, "model", false, 1, device_index) {}

  int64_t attention_layers() const override { return attention_layers_; }
  void add_bytes(WeightBytes& sum) const override { sum.add(this, bytes_); }

  std::vector<at::Tensor> run(std::vector<at::Tensor> inputs) const override {
    return torch_boundary(ErrorCode::Internal, file_, [&] {
      const WithoutAutograd guard;
      // Compiled code assumes the strides it was compiled for, unchecked.
      for (auto& input : inputs) input = input.contiguous();
      return loader_.boxed_run(std::move(inputs));
    });
  }

 private:
  std::string file_;
  int64_t bytes_;
  int64_t attention_layers_;
  // Mutable, yet logically const: concurrent calls queue for the loader's one runner.
  mutable torch::inductor::AOTIModelPackageLoader loader_;
};

/// Returns the file of the libtorch_cpu.so in use, or an empty path if it cannot be told.
std::filesystem::path libtorch_cpu() {
  Dl_info here{};
  const auto* symbol =
      reinterpret_cast<const void*>(&torch::inductor::AOTIModelPackageLoader::load_metadata_from_package);
  return ::dladdr(symbol, &here) && here.dli_fname ? here.dli_fname : "";
}

/// Shows libtorch's symbols to all libraries. Packages look for them there, and do not find those of a
/// library that came with a plug-in, such as a module of a program or an extension of Python.
void show_libtorch() { ::dlopen(libtorch_cpu().c_str(), RTLD_LAZY | RTLD_NOLOAD | RTLD_GLOBAL); }

/// Loads libtorch.so from beside the libtorch_cpu.so in use; returns whether that worked. It fails without
/// the CUDA libraries, as in glint's own CPU set-up.
bool load_libtorch() {
  const auto library = libtorch_cpu().parent_path() / "libtorch.so";
  return library.has_parent_path() && ::dlopen(library.c_str(), RTLD_LAZY | RTLD_LOCAL) != nullptr;
}

std::shared_ptr<const Network> open_package(const std::string& file, const std::string& path,
                                            at::DeviceIndex index, int64_t bytes, int64_t layers) {
  show_libtorch();
  // Packages link to libtorch.so unless exported with link_libtorch = False, although they only need
  // libtorch_cpu.so. Load it only for packages that require it, since it pulls in the CUDA libraries.
  try {
    return std::make_shared<const AotiNetwork>(file, path, index, bytes, layers);
  } catch (const std::exception& error) {
    if (std::string_view(error.what()).find("libtorch.so") == std::string_view::npos) throw;
    GLINT_CHECK(load_libtorch(), BadModel,
                "{}: the package is linked with libtorch.so, which cannot be loaded here; export it with "
                "torch._inductor.config.aot_inductor.link_libtorch = False",
                file);
    return std::make_shared<const AotiNetwork>(file, path, index, bytes, layers);
  }
}

}  // namespace

std::shared_ptr<const Network> load_aoti(const ModelFile& source, const ParsedLoadOptions& options) {
  const std::string& file = source->name();
  const auto index = options.device.is_cuda() ? options.device.index() : at::DeviceIndex{-1};
  const std::string what = file +
                           ": cannot be loaded as an AOTInductor package (was it compiled on another kind of "
                           "processor or by another torch?)";
  return torch_boundary(ErrorCode::BadModel, what, [&] {
    const UnnamedFile copy;
    copy.append(*source);
    return open_package(file, copy.path(), index, static_cast<int64_t>(source->size()),
                        options.attention ? attention_calls(source) : 0);
  });
}

}  // namespace glint::detail
