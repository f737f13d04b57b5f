// The self-description of options: what range checks say, and that defaults lie in their own ranges.
#include <glint/core/options.hpp>
#include <glint/solver/lcm.hpp>
#include <glint/step/z_sampling.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/errors.hpp"

#include <limits>
#include <set>

namespace glint {
namespace GLINT_TEST_FILE {

using test::Contains;
using test::failure;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN(),
                 kInfinity = std::numeric_limits<double>::infinity();

struct Knobs {
  int count = 2;
  double share = 0.5;
  std::optional<double> maybe = std::nullopt;
  bool flag = true;
  Evaluation choice = Evaluation::Source;

  static void fields(auto& visit, auto& o) {
    visit("count", o.count, Field{.help = "how many", .minimum = 1, .maximum = 9});
    visit("share", o.share, Field{.help = "how much", .minimum = 0, .maximum = 1});
    visit("maybe", o.maybe, Field{.help = "perhaps", .minimum = -1, .maximum = 1});
    visit("flag", o.flag, Field{.help = "whether", .minimum = 5});
    visit("choice", o.choice, Field{.help = "which"});
  }
};

std::string refusal(const Knobs& knobs) {
  return failure([&] { check_ranges("owner", knobs); });
}

TEST_CASE("A value outside its range is refused with owner, name, range and value", "[unit]") {
  CHECK(refusal({}) == "no error");
  CHECK(refusal({.count = 0}) == "InvalidArgument: owner.count: expected a value in [1, 9], got 0");
  CHECK(refusal({.count = 10}) == "InvalidArgument: owner.count: expected a value in [1, 9], got 10");
  CHECK(refusal({.share = -0.1}) == "InvalidArgument: owner.share: expected a value in [0, 1], got -0.1");
  CHECK(refusal({.share = 1.0}) == "no error");
  CHECK(refusal({.maybe = 1.5}) == "InvalidArgument: owner.maybe: expected a value in [-1, 1], got 1.5");
  CHECK(refusal({.maybe = -1.0}) == "no error");
}

TEST_CASE("NaN and infinity are outside every range", "[unit]") {
  for (double value : {kNan, kInfinity, -kInfinity}) {
    CHECK_THAT(refusal({.share = value}), Contains("owner.share"));
    CHECK_THAT(refusal({.maybe = value}), Contains("owner.maybe"));
    CHECK_THAT(failure([&] { Cfg rule(value); }), Contains("InvalidArgument: cfg.scale"));
    CHECK_THAT(failure([&] { Ddim solver(DdimOptions{value}); }), Contains("InvalidArgument: ddim.eta"));
    CHECK_THAT(failure([&] { EulerAncestral solver(AncestralOptions{value}); }),
               Contains("euler-ancestral.eta"));
    CHECK_THAT(failure([&] { z_sampling({.guidance_inverse = value}); }),
               Contains("z-sampling.guidance_inverse"));
  }
}

TEST_CASE("Every option of a reflection is checked when it is made", "[unit]") {
  const auto refused = [](ReflectOptions options) {
    return failure([&] { z_sampling({.reflect = options}); });
  };
  CHECK(refused({}) == "no error");
  CHECK_THAT(refused({.span = 0}), Contains("z-sampling.span: expected a value in [1, 1000], got 0"));
  CHECK_THAT(refused({.merge = 11.0}), Contains("z-sampling.merge"));
  CHECK_THAT(refused({.repeats = -1}), Contains("z-sampling.repeats"));
  CHECK_THAT(refused({.window = {.start = -0.1}}), Contains("z-sampling.start"));
  CHECK_THAT(refused({.window = {.stop = 1.1}}), Contains("z-sampling.stop"));
  CHECK_THAT(refused({.invert = {.iterations = 0}}), Contains("z-sampling.iterations"));
}

TEST_CASE("Names of an enumeration's values are unique and in order", "[unit]") {
  CHECK(enum_name(Evaluation::Destination) == "destination");
  CHECK(enum_name(Evaluation::FixedPoint) == "fixed-point");
  CHECK(enum_name(Coefficients::LegacyUpper) == "legacy-upper");
  CHECK(enum_name(Sigmas::Exponential) == "exponential");
  CHECK(enum_name(Betas::SquaredCosine) == "squaredcos_cap_v2");
}

template <typename Options>
void check_described(std::string_view owner) {
  CAPTURE(owner);
  CHECK_NOTHROW(check_ranges(owner, Options{}));
  std::set<std::string_view> names;
  auto visit = [&](std::string_view name, const auto&, const Field& field) {
    CAPTURE(name);
    CHECK(names.insert(name).second);
    CHECK_FALSE(field.help.empty());
    CHECK_FALSE(field.help.ends_with('.'));
    CHECK(field.minimum < field.maximum);
  };
  const Options defaults{};
  Options::fields(visit, defaults);
}

TEST_CASE("Defaults lie in their ranges, and each option has one name and a clause of help", "[unit]") {
  check_described<CfgOptions>("cfg");
  check_described<DdimOptions>("ddim");
  check_described<AncestralOptions>("euler-ancestral");
  check_described<GridOptions>("schedule");
  check_described<ZSamplingOptions>("z-sampling");
}

TEST_CASE("A window is a half-open range of steps", "[unit]") {
  const auto active = [](StepWindow window, int n) {
    std::vector<int> steps;
    for (int i = 0; i < n; ++i)
      if (window.contains(i, n)) steps.push_back(i);
    return steps;
  };
  CHECK(active({}, 4) == std::vector<int>{0, 1, 2, 3});
  CHECK(active({.start = 0.25, .stop = 0.75}, 4) == std::vector<int>{1, 2});
  CHECK(active({.start = 0.5, .stop = 0.5}, 4).empty());
  CHECK(active({.start = 0.75, .stop = 0.25}, 4).empty());
  CHECK(active({.start = 0.75}, 4) == std::vector<int>{3});
  CHECK(active({}, 1) == std::vector<int>{0});
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
