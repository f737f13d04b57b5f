// Adapts any C++ callable to a model: another engine, an analytic function, a stub.
#pragma once

#include <glint/core/error.hpp>
#include <glint/core/tensor.hpp>
#include <glint/model/model.hpp>

#include <functional>
#include <utility>

namespace glint {

/// Wraps a function with the signature of Model::predict and checks that it returns, for each branch, one
/// tensor of x's shape and dtype.
class CallableModel final : public Model {
 public:
  using Function = std::function<std::vector<at::Tensor>(const ModelInput&)>;

  CallableModel(ModelInfo info, Function function) : info_(std::move(info)), function_(std::move(function)) {
    GLINT_CHECK(function_ != nullptr, InvalidArgument, "function: expected a callable, got an empty one");
  }

  const ModelInfo& info() const override { return info_; }

  std::vector<at::Tensor> predict(const ModelInput& input) const override {
    std::vector<at::Tensor> outputs = function_(input);
    GLINT_CHECK(outputs.size() == input.branches.size(), ShapeMismatch,
                "model '{}': expected {} outputs, got {}", info_.name, input.branches.size(), outputs.size());
    for (const at::Tensor& output : outputs) {
      GLINT_CHECK(output.defined() && output.sizes() == input.x.sizes(), ShapeMismatch,
                  "model '{}': expected an output of shape {}, got {}", info_.name,
                  shape_string(input.x.sizes()),
                  output.defined() ? shape_string(output.sizes()) : "an undefined tensor");
      GLINT_CHECK(output.scalar_type() == input.x.scalar_type(), UnsupportedDtype,
                  "model '{}': expected an output of dtype {}, got {}", info_.name,
                  at::toString(input.x.scalar_type()), at::toString(output.scalar_type()));
    }
    return outputs;
  }

 private:
  ModelInfo info_;
  Function function_;
};

}  // namespace glint
