// Packages compiled by AOTInductor: a shared library and its constants in a .pt2 archive.
#include "model/module_loaders.hpp"
#include "model/torch_errors.hpp"

#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <dlfcn.h>

namespace glint::detail {
namespace {

class AotiModule final : public Module {
 public:
  AotiModule(std::string file, at::DeviceIndex device_index)
      : file_(std::move(file)), loader_(file_, "model", false, 1, device_index) {}

  std::vector<at::Tensor> run(std::vector<at::Tensor> inputs) const override {
    return translated(ErrorCode::Internal, file_, [&] {
      const WithoutAutograd guard;
      // Compiled code reads memory by the strides it was compiled for and checks nothing.
      for (auto& input : inputs) input = input.contiguous();
      return loader_.boxed_run(std::move(inputs));
    });
  }

 private:
  std::string file_;
  // Runs are const in effect: concurrent calls queue for the loader's one runner.
  mutable torch::inductor::AOTIModelPackageLoader loader_;
};

/// Loads libtorch.so from where the libtorch_cpu.so in use lies; returns whether that worked. It cannot where the CUDA
/// libraries are left out, as in glint's own CPU set-up.
bool load_libtorch() {
  Dl_info here{};
  const auto* symbol =
      reinterpret_cast<const void*>(&torch::inductor::AOTIModelPackageLoader::load_metadata_from_package);
  if (!::dladdr(symbol, &here) || !here.dli_fname) return false;
  const auto library = std::filesystem::path(here.dli_fname).parent_path() / "libtorch.so";
  return ::dlopen(library.c_str(), RTLD_LAZY | RTLD_LOCAL) != nullptr;
}

std::shared_ptr<const Module> open_package(const std::string& file, at::DeviceIndex index) {
  // Packages are linked with libtorch.so unless exported with link_libtorch = False, though they need nothing of it but
  // libtorch_cpu.so. It is only loaded for a package that asks for it, because it drags in the CUDA libraries.
  try {
    return std::make_shared<const AotiModule>(file, index);
  } catch (const std::exception& error) {
    if (std::string_view(error.what()).find("libtorch.so") == std::string_view::npos) throw;
    GLINT_CHECK(load_libtorch(), BadModel,
                "{}: the package is linked with libtorch.so, which cannot be loaded here; export it with "
                "torch._inductor.config.aot_inductor.link_libtorch = False",
                file);
    return std::make_shared<const AotiModule>(file, index);
  }
}

}  // namespace

std::shared_ptr<const Module> load_aoti(const std::filesystem::path& path, const ModuleOptions& options) {
  const std::string file = path.string();
  const auto index = options.device.is_cuda() ? options.device.index() : at::DeviceIndex{-1};
  const std::string what = file +
                           ": cannot be loaded as an AOTInductor package (was it compiled on another kind of "
                           "processor or by another torch?)";
  return translated(ErrorCode::BadModel, what, [&] { return open_package(file, index); });
}

}  // namespace glint::detail
