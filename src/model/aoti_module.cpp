// Packages compiled by AOTInductor: a shared library and its constants in a .pt2 archive.
#include "model/module_loaders.hpp"
#include "model/torch_errors.hpp"

#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

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

}  // namespace

std::shared_ptr<const Module> load_aoti(const std::filesystem::path& path, const ModuleOptions& options) {
  const std::string file = path.string();
  const auto index = options.device.is_cuda() ? options.device.index() : at::DeviceIndex{-1};
  const std::string what = file + ": cannot be loaded as an AOTInductor package (was it compiled on another kind of "
                                  "processor or by another torch?)";
  return translated(ErrorCode::BadModel, what, [&] { return std::make_shared<const AotiModule>(file, index); });
}

}  // namespace glint::detail
