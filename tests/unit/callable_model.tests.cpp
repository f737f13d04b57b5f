// A callable as a model: what it is handed, and how a wrong answer is reported.
#include <glint/model/callable_model.hpp>
#include <glint/model/conditioning.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/errors.hpp"
#include "tests/support/tensors.hpp"

namespace glint {
namespace GLINT_TEST_FILE {

using test::Contains;
using test::failure;

std::vector<at::Tensor> predict(const CallableModel& model, const at::Tensor& x) {
  const Conditioning cond, uncond;
  const Conditioning* branches[] = {&cond, &uncond};
  return model.predict({.x = x,
                        .level = {500, 0.5, 0.5},
                        .branches = branches,
                        .adapters = {{"style", -1.5}},
                        .embedded_guidance = 3.5});
}

std::string refusal(std::function<std::vector<at::Tensor>(const at::Tensor&)> answer) {
  const CallableModel model({.name = "engine"}, [&](const ModelInput& in) { return answer(in.x); });
  return failure([&] { predict(model, at::zeros({2, 4, 3, 3})); });
}

TEST_CASE("A callable sees everything the model was asked", "[unit]") {
  const at::Tensor x = at::zeros({2, 4, 3, 3});
  int calls = 0;
  const CallableModel model({.name = "engine"}, [&](const ModelInput& in) {
    ++calls;
    CHECK(in.x.is_same(x));
    CHECK(in.level.model_time == 500);
    CHECK(in.branches.size() == 2);
    CHECK(in.adapters.at("style") == -1.5);
    CHECK(in.embedded_guidance == 3.5);
    return std::vector<at::Tensor>{in.x, in.x};
  });
  CHECK(predict(model, x).size() == 2);
  CHECK(calls == 1);
  CHECK(model.info().name == "engine");
}

TEST_CASE("A wrong number, shape or dtype of outputs is refused, with the model's name and what came",
          "[unit]") {
  CHECK(refusal([](const at::Tensor& x) { return std::vector{x, x}; }) == "no error");
  CHECK(refusal([](const at::Tensor& x) { return std::vector{x}; }) ==
        "ShapeMismatch: model 'engine': expected 2 outputs, got 1");
  CHECK(refusal([](const at::Tensor& x) {
          return std::vector{x, x.slice(1, 0, 3)};
        }) == "ShapeMismatch: model 'engine': expected an output of shape [2,4,3,3], got [2,3,3,3]");
  CHECK_THAT(refusal([](const at::Tensor& x) {
               return std::vector{x, at::Tensor()};
             }),
             Contains("an undefined tensor"));
  CHECK(refusal([](const at::Tensor& x) {
          return std::vector{x, x.to(at::kDouble)};
        }) == "UnsupportedDtype: model 'engine': expected an output of dtype Float, got Double");
}

TEST_CASE("An empty callable is refused when the model is made", "[unit]") {
  CHECK_THAT(failure([] { CallableModel model({.name = "engine"}, nullptr); }),
             Contains("InvalidArgument: function: expected a callable"));
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
