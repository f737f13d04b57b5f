// What the algorithms use of a tensor, over both: broadcasting, mixed dtypes and sums, against loops over
// indices.
#include <glint/core/tensor.hpp>

#include "tests/support/catch.hpp"

#include <cmath>
#include <functional>
#include <numeric>
#include <vector>

namespace glint {
namespace GLINT_TEST_FILE {

using Sizes = std::vector<int64_t>;

int64_t count_of(const Sizes& sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<>());
}

/// 1, 2, 3, ... plus `first`, which float32 holds exactly.
Tensor ramp(const Sizes& sizes, at::ScalarType type, double first = 0.0) {
  const Tensor x = at::empty(sizes, at::kDouble);
  for (int64_t i = 0; i < x.numel(); ++i) x.data_ptr<double>()[i] = static_cast<double>(i + 1) + first;
  return x.to(type);
}

std::vector<double> values_of(const Tensor& x) {
  const Tensor wide = x.to(at::kDouble).contiguous();
  return {wide.data_ptr<double>(), wide.data_ptr<double>() + wide.numel()};
}

/// Where an element of the result lies in an operand.
int64_t place_of(int64_t index, const Sizes& result, const Sizes& own) {
  int64_t place = 0, stride = 1;
  for (size_t back = 1; back <= result.size(); ++back) {
    const int64_t size = result[result.size() - back], at = index % size;
    index /= size;
    if (back > own.size()) continue;
    const int64_t kept = own[own.size() - back];
    place += (kept == 1 ? 0 : at) * stride;
    stride *= kept;
  }
  return place;
}

TEST_CASE("Operands of all shapes and dtypes broadcast", "[unit]") {
  struct Case {
    Sizes x, y, result;
  };
  const Case cases[] = {{{2, 3, 4}, {2, 3, 4}, {2, 3, 4}},
                        {{2, 3, 4}, {}, {2, 3, 4}},
                        {{1}, {2, 3, 4}, {2, 3, 4}},
                        {{2, 3, 4}, {2, 1, 1}, {2, 3, 4}},
                        {{2, 3, 1}, {2, 3, 4}, {2, 3, 4}},
                        {{2, 3, 4}, {3, 4}, {2, 3, 4}},
                        {{2, 3, 4}, {3, 1}, {2, 3, 4}},
                        {{1, 3, 1}, {2, 1, 4}, {2, 3, 4}},
                        {{2, 1}, {1, 3}, {2, 3}},
                        {{2, 1, 1}, {2, 1, 1}, {2, 1, 1}},
                        {{2, 1}, {2, 2, 3}, {2, 2, 3}},
                        {{1, 1, 3}, {2, 3}, {1, 2, 3}},
                        {{2, 3, 4}, {1, 1, 1, 1}, {1, 2, 3, 4}},
                        {{0, 3}, {1, 3}, {0, 3}},
                        {{}, {}, {}}};
  for (const Case& c : cases)
    for (const at::ScalarType of_x : {at::kFloat, at::kDouble})
      for (const at::ScalarType of_y : {at::kFloat, at::kDouble}) {
        const Tensor x = ramp(c.x, of_x), y = ramp(c.y, of_y, 0.5);
        CAPTURE(shape_string(x.sizes()), shape_string(y.sizes()));
        const Tensor product = x.mul(y), difference = x.sub(y, 2.0), quotient = x.div(y);
        REQUIRE(product.sizes().vec() == c.result);
        const std::vector<double> of_product = values_of(product), of_difference = values_of(difference),
                                  of_quotient = values_of(quotient);
        REQUIRE(static_cast<int64_t>(of_product.size()) == count_of(c.result));
        for (size_t i = 0; i < of_product.size(); ++i) {
          const double a = static_cast<double>(place_of(static_cast<int64_t>(i), c.result, c.x) + 1);
          const double b = static_cast<double>(place_of(static_cast<int64_t>(i), c.result, c.y) + 1) + 0.5;
          CHECK(of_product[i] == a * b);
          CHECK(of_difference[i] == a - 2.0 * b);
          CHECK(std::abs(of_quotient[i] - a / b) < 1e-6);  // float32 rounds to 6e-8 of values below 24
        }
      }
}

TEST_CASE("A double tensor decides the dtype, a number does not", "[unit]") {
  const Tensor x = ramp({2, 3}, at::kFloat), wide = ramp({2, 1}, at::kDouble), number = ramp({}, at::kDouble);
  CHECK(x.mul(wide).scalar_type() == at::kDouble);
  CHECK(wide.add(x).scalar_type() == at::kDouble);
  CHECK(x.mul(number).scalar_type() == at::kFloat);
  CHECK(number.mul(x).scalar_type() == at::kFloat);
}

TEST_CASE("Sums run along every dimension, indices choose along every dimension", "[unit]") {
  const Sizes sizes{2, 3, 5};
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    const Tensor x = ramp(sizes, type);
    for (int64_t d = 0; d < 3; ++d) {
      int64_t inner = 1;
      for (size_t i = static_cast<size_t>(d) + 1; i < 3; ++i) inner *= sizes[i];
      const int64_t count = sizes[static_cast<size_t>(d)];
      const std::vector<double> sums = values_of(x.sum(d)), means = values_of(x.mean(d)),
                                spreads = values_of(x.std(static_cast<int>(d)));
      REQUIRE(static_cast<int64_t>(sums.size()) == 30 / count);
      for (size_t i = 0; i < sums.size(); ++i) {
        const auto at = static_cast<int64_t>(i);
        const double first = static_cast<double>(at / inner * inner * count + at % inner + 1);
        const double last = first + static_cast<double>((count - 1) * inner);
        const double n = static_cast<double>(count), step = static_cast<double>(inner);
        CHECK(sums[i] == 0.5 * n * (first + last));
        CHECK(std::abs(means[i] - 0.5 * (first + last)) < 1e-5);  // float32 rounds to 2e-6 of values to 30
        CHECK(std::abs(spreads[i] - step * std::sqrt(n * (n + 1.0) / 12.0)) < 1e-5);
      }
      const Tensor chosen = x.index_select(d, at::full({1}, static_cast<double>(count - 1), at::kLong));
      CHECK(values_of(chosen) == values_of(x.slice(d, count - 1, count)));
    }
  }
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
