// Programs of torch.export (.pt2), run by nativert: torch's interpreter for them, part of libtorch_cpu.
#include "model/module_loaders.hpp"
#include "model/torch_errors.hpp"

#include <c10/util/Logging.h>

#include <mutex>

#if __has_include(<torch/nativert/ModelRunnerHandle.h>)
#include <torch/nativert/ModelRunnerHandle.h>
#else
#include <torch/csrc/api/include/torch/nativert/ModelRunnerHandle.h>
#endif

namespace glint::detail {
namespace {

/// Keeps torch from printing while it lasts. Loading warns of every operator without a static kernel, which is no
/// news to anyone who runs a model. The level belongs to the process, hence the lock and the short time.
class Quiet {
 public:
  Quiet() : lock_(mutex()), before_(FLAGS_caffe2_log_level) {
    FLAGS_caffe2_log_level = std::max(before_, static_cast<int>(c10::GLOG_ERROR));
  }
  ~Quiet() { FLAGS_caffe2_log_level = before_; }
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;

 private:
  static std::mutex& mutex() {
    static std::mutex one;
    return one;
  }
  std::lock_guard<std::mutex> lock_;
  int before_;
};

/// Returns an ordinary tensor with the memory of `output`: the engine runs in inference mode, whose tensors may not be
/// changed in place outside of it.
at::Tensor ordinary(const at::Tensor& output) {
  if (!output.is_inference()) return output;
  auto tensor = at::empty({0}, output.options());
  tensor.set_(output.storage(), output.storage_offset(), output.sizes(), output.strides());
  return tensor;
}

class ExportedProgramModule final : public Module {
 public:
  explicit ExportedProgramModule(std::string file) : file_(std::move(file)), runner_(file_, "model") {}

  std::vector<at::Tensor> run(std::vector<at::Tensor> inputs) const override {
    return translated(ErrorCode::Internal, file_, [&] {
      const WithoutAutograd guard;
      std::vector<c10::IValue> stack(std::make_move_iterator(inputs.begin()),
                                     std::make_move_iterator(inputs.end()));
      std::vector<at::Tensor> outputs;
      for (const auto& output : runner_.runWithFlatInputsAndOutputs(std::move(stack))) {
        GLINT_CHECK(output.isTensor(), BadModel, "{}: returns {}, expected tensors", file_, output.tagKind());
        outputs.push_back(ordinary(output.toTensor()));
      }
      return outputs;
    });
  }

 private:
  std::string file_;
  // Runs are const in effect: every call takes an execution frame of its own from the runner's pool.
  mutable torch::nativert::ModelRunnerHandle runner_;
};

}  // namespace

std::shared_ptr<const Module> load_exported_program(const std::filesystem::path& path,
                                                    const ModuleOptions& options) {
  const std::string file = path.string();
  GLINT_CHECK(options.device.is_cpu(), UnsupportedDevice,
              "{}: exported programs run on the device they were exported for, which is the CPU here", file);
  return translated(ErrorCode::BadModel, file + ": cannot be loaded as an exported program", [&] {
    const Quiet quiet;
    return std::make_shared<const ExportedProgramModule>(file);
  });
}

}  // namespace glint::detail
