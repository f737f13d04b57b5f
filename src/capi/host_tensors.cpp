// Tensors and step strategies that cross the C interface.
#include "capi/engine.hpp"

namespace glint::capi {
namespace {

/// The host's strategy. Ends the host's data with itself.
class HostStrategy final : public StepStrategy {
 public:
  explicit HostStrategy(const glint_step_strategy& strategy)
      : strategy_(strategy), name_(strategy.name ? strategy.name : "") {
    GLINT_CHECK(!name_.empty(), InvalidArgument, "strategy.name: expected a name, got none");
    GLINT_CHECK(strategy.refine, InvalidArgument, "strategy.refine: expected a function, got null");
    owned_ = true;
  }
  ~HostStrategy() override {
    if (owned_) end_host_data(strategy_.destroy, strategy_.user);
  }
  HostStrategy(const HostStrategy&) = delete;
  HostStrategy& operator=(const HostStrategy&) = delete;

  std::string_view name() const override { return name_; }
  bool active(int i, int n) const override {
    return !strategy_.active || strategy_.active(strategy_.user, i, n) != 0;
  }
  Tensor refine(const Tensor& x, const StepContext& context) const override {
    const Tensor changed = x.contiguous().clone();
    const glint_tensor view = view_of(changed);
    const NoiseSchedule& schedule = context.run.schedule();
    const Level& level = schedule.level(context.step);
    const int32_t answer =
        strategy_.refine(strategy_.user, &view, level.alpha, level.sigma, context.step, schedule.steps());
    GLINT_CHECK(answer == 0, Internal, "strategy '{}': refine returned {}, 0 is success", name_, answer);
    return changed;
  }

 private:
  glint_step_strategy strategy_;
  std::string name_;
  bool owned_ = false;
};

size_t bytes_of(const Tensor& tensor) {
  return static_cast<size_t>(tensor.numel()) *
         (tensor.scalar_type() == at::kFloat ? sizeof(float) : sizeof(double));
}

void* data_of(const Tensor& tensor) {
  if (tensor.scalar_type() == at::kFloat) return tensor.data_ptr<float>();
  return tensor.data_ptr<double>();
}

}  // namespace

glint_tensor view_of(const Tensor& tensor) {
  GLINT_CHECK(tensor.scalar_type() == at::kFloat || tensor.scalar_type() == at::kDouble, UnsupportedDtype,
              "tensor: expected float32 or float64, got {}", at::toString(tensor.scalar_type()));
  glint_tensor view{};
  view.struct_size = sizeof view;
  view.data = data_of(tensor);
  view.dtype = tensor.scalar_type() == at::kFloat ? GLINT_FLOAT32 : GLINT_FLOAT64;
  view.rank = static_cast<int32_t>(tensor.dim());
  view.sizes = &*tensor.sizes().begin();
  return view;
}

Tensor copied(const glint_tensor& view, std::string_view name) {
  const int dtype = enum_number(view.dtype);
  GLINT_CHECK(dtype == GLINT_FLOAT32 || dtype == GLINT_FLOAT64, UnsupportedDtype,
              "{}.dtype: expected 1 (float32) or 2 (float64), got {}", name, dtype);
  GLINT_CHECK(view.rank >= 1 && view.rank <= 8, ShapeMismatch, "{}.rank: expected 1 to 8, got {}", name,
              view.rank);
  GLINT_CHECK(view.sizes, InvalidArgument, "{}.sizes: expected {} sizes, got null", name, view.rank);
  int64_t count = 1;
  for (int32_t d = 0; d < view.rank; ++d) {
    const int64_t size = view.sizes[d];
    GLINT_CHECK(size >= 1 && size <= (int64_t{1} << 34) / count, ShapeMismatch,
                "{}.sizes: expected sizes from 1 and at most 2^34 values, got {} at {}", name, size, d);
    count *= size;
  }
  const std::vector<int64_t> sizes(view.sizes, view.sizes + view.rank);
  const Tensor tensor = at::empty(sizes, view.dtype == GLINT_FLOAT32 ? at::kFloat : at::kDouble);
  std::memcpy(data_of(tensor), view.data, bytes_of(tensor));
  return tensor;
}

std::shared_ptr<const StepStrategy> make_host_strategy(const glint_step_strategy& strategy) {
  return std::make_shared<const HostStrategy>(strategy);
}

}  // namespace glint::capi
