// TorchScript archives, run by torch's interpreter.
#include "model/module_loaders.hpp"
#include "model/torch_errors.hpp"

#include <glint/attention/rewrite.hpp>

#include <c10/core/GradMode.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>

namespace glint::detail {
namespace {

/// Converts weights to `dtype`. Module::to would convert integer buffers (position ids, token tables) as
/// well.
void convert_weights(const torch::jit::Module& module, at::ScalarType dtype) {
  const auto convert = [dtype](const at::Tensor& tensor) {
    if (tensor.is_floating_point() && tensor.scalar_type() != dtype) tensor.set_data(tensor.to(dtype));
  };
  for (const auto& parameter : module.parameters()) convert(parameter);
  for (const auto& buffer : module.buffers()) convert(buffer);
}

class TorchScriptModule final : public Module {
 public:
  TorchScriptModule(torch::jit::Module module, std::string file, const ModuleOptions& options)
      : module_(std::move(module)), file_(std::move(file)), gradients_(options.gradients) {
    if (options.attention) attention_layers_ = rewrite_attention(module_);
  }

  int64_t attention_layers() const override { return attention_layers_; }

  std::vector<at::Tensor> run(std::vector<at::Tensor> inputs) const override {
    return translated(ErrorCode::Internal, file_, [&] {
      // No optimisation at run time. The profiling executor records shapes in the first call and recompiles
      // for them in the second: 0.24 s and 0.17 s instead of 0.05 s for a transformer of 5 M parameters on a
      // CPU, whose later calls are no faster than the frozen graph's. Other batch sizes (guidance off, a last
      // smaller batch) may stall again. The switch belongs to the thread, so a host's own TorchScript is not
      // touched (getProfilingMode and getExecutorMode belong to the process).
      const torch::jit::GraphOptimizerEnabledGuard unoptimized(false);
      if (gradients_ || wants_gradient(inputs)) return forward(std::move(inputs));
      const WithoutAutograd guard;
      return forward(std::move(inputs));
    });
  }

 private:
  /// Whether the caller is recording, as a strategy that optimizes the latents does.
  static bool wants_gradient(const std::vector<at::Tensor>& inputs) {
    return c10::GradMode::is_enabled() &&
           std::any_of(inputs.begin(), inputs.end(), [](const at::Tensor& t) { return t.requires_grad(); });
  }

  std::vector<at::Tensor> forward(std::vector<at::Tensor> inputs) const {
    std::vector<c10::IValue> stack(std::make_move_iterator(inputs.begin()),
                                   std::make_move_iterator(inputs.end()));
    // A handle of its own per call: Module::forward is not const, yet changes nothing.
    auto module = module_;
    const auto result = module.forward(std::move(stack));
    if (result.isTensor()) return {result.toTensor()};
    if (result.isTensorList()) return result.toTensorVector();
    std::vector<at::Tensor> outputs;
    GLINT_CHECK(result.isTuple(), BadModel, "{}: returns {}, expected a tensor or a tuple of tensors", file_,
                result.tagKind());
    for (const auto& element : result.toTupleRef().elements()) {
      GLINT_CHECK(element.isTensor(), BadModel, "{}: returns a tuple with {}, expected tensors", file_,
                  element.tagKind());
      outputs.push_back(element.toTensor());
    }
    return outputs;
  }

  torch::jit::Module module_;
  std::string file_;
  bool gradients_;
  int64_t attention_layers_ = 0;
};

}  // namespace

std::shared_ptr<const Module> load_torchscript(const std::filesystem::path& path,
                                               const ModuleOptions& options) {
  const std::string file = path.string();
  return translated(ErrorCode::BadModel, file + ": cannot be loaded as a TorchScript module", [&] {
    // Onto the CPU first: weights stored on a GPU would otherwise need one here.
    auto module = torch::jit::load(file, at::Device(at::kCPU));
    GLINT_CHECK(module.find_method("forward"), BadModel, "{}: has no forward method", file);
    module.eval();
    if (options.dtype) convert_weights(module, *options.dtype);
    module.to(options.device);
    for (const auto& parameter : module.parameters()) parameter.set_requires_grad(false);
    // Freezing makes weights constants of one inlined graph: attribute look-ups and Python-style calls go
    // away, batch norms fold into convolutions, and every attention is a node of one graph.
    return std::make_shared<const TorchScriptModule>(torch::jit::freeze(module), file, options);
  });
}

}  // namespace glint::detail
