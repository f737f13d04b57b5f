#include <glint/catalog/registry.hpp>
#include <glint/step/z_sampling.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

#include <algorithm>

using namespace glint;
using test::Contains;
using test::failure;

/// Options of which one may be unset.
struct Optional {
  std::optional<double> scale = 1.0;
  double merge = 1.0;
  static void fields(auto& visit, auto& o) {
    visit("scale", o.scale, Field{});
    visit("merge", o.merge, Field{});
  }
};

// Made, or refused for nothing but the missing bundle or an option without a default.
static void check_makes(const Registry::Entry& entry, const OptionValues& options) {
  try {
    entry.make(options, {});
  } catch (const Error& error) {
    const std::string message = error.what();
    const auto required = [&](const OptionDescription& o) {
      return o.default_value.empty() &&
             message.starts_with(std::string(entry.info.name) + "." + o.name + ":");
    };
    if (std::none_of(entry.options.begin(), entry.options.end(), required))
      CHECK_THAT(message, Contains("needs a model bundle"));
  }
}

TEST_CASE("Every shipped entry can be made from its defaults and describes itself", "[unit]") {
  for (const Registry::Entry& entry : builtins().entries()) {
    CAPTURE(std::string(entry.info.name));
    check_makes(entry, {});
    CHECK_FALSE(entry.info.summary.empty());
    CHECK_FALSE(entry.info.cost.empty());
    CHECK_FALSE(entry.info.source.empty());
    OptionValues defaults;
    for (const OptionDescription& o : entry.options) {
      CHECK_FALSE(o.help.empty());
      if (!o.default_value.empty()) defaults.emplace(o.name, o.default_value);
    }
    check_makes(entry, defaults);  // what is described is what is read
  }
}

TEST_CASE("A choice is a name and options", "[unit]") {
  const Choice plain = parse_choice("euler");
  CHECK(plain.name == "euler");
  CHECK(plain.options.empty());
  const Choice full = parse_choice("z-sampling:merge=0.5,evaluation=source");
  CHECK(full.name == "z-sampling");
  CHECK(std::get<std::string>(full.options.at("merge")) == "0.5");
  CHECK_THAT(failure([] { parse_choice(""); }), Contains("got no name"));
  CHECK_THAT(failure([] { parse_choice(":a=1"); }), Contains("got no name"));
  CHECK_THAT(failure([] { parse_choice("x:=1"); }), Contains("expected key=value, got '=1'"));
  CHECK_THAT(failure([] { parse_choice("x:a=1,a=2"); }), Contains("option 'a' is given twice"));
}

TEST_CASE("JSON options are numbers, strings and booleans", "[unit]") {
  const OptionValues values = parse_options(R"({"merge": 0.5, "evaluation": "source"})");
  CHECK(read_options<ZSamplingOptions>("z-sampling", {{"repeats", 2}}).reflect.repeats == 2);
  const auto options = read_options<ZSamplingOptions>("z-sampling", values);
  CHECK(options.reflect.merge == 0.5);
  CHECK(options.reflect.invert.evaluation == Evaluation::Source);
  CHECK_FALSE(options.guidance_forward.has_value());
  CHECK_THAT(failure([] { parse_options("[1]"); }), Contains("expected a JSON object"));
  CHECK_THAT(failure([] { parse_options(R"({"a": [1]})"); }), Contains("options.a: expected a number"));
  CHECK_THAT(failure([] { parse_options("{"); }), Contains("InvalidArgument: options"));
}

TEST_CASE("Values of the wrong type or range are refused by name", "[unit]") {
  const auto message = [](const char* name, OptionValue value) {
    return failure([&] { builtins().step({.name = "z-sampling", .options = {{name, value}}}); });
  };
  CHECK_THAT(message("repeats", 1.5), Contains("z-sampling.repeats: expected an integer, got '1.5'"));
  CHECK_THAT(message("repeats", -1.0), Contains("z-sampling.repeats: expected a value in [0, 1000], got -1"));
  CHECK_THAT(message("repeats", true), Contains("expected an integer, got 'true'"));
  CHECK_THAT(message("merge", std::string("nan")), Contains("expected a number, got 'nan'"));
  CHECK_THAT(message("merge", std::string("1e")), Contains("expected a number"));
  CHECK_THAT(message("guidance_forward", std::string("")), Contains("expected a number"));
  CHECK_THAT(message("coefficients", std::string("legacy")),
             Contains("expected one of matched, legacy-shifted"));
}

TEST_CASE("The word unset empties an option that may be, whatever its default", "[unit]") {
  const auto read = [](OptionValues values) { return read_options<Optional>("some", values); };
  CHECK(read({}).scale == 1.0);
  CHECK(read({{"scale", 2.0}}).scale == 2.0);
  CHECK_FALSE(read({{"scale", "unset"}}).scale.has_value());
  CHECK_THAT(failure([&] {
               read({{"merge", "unset"}});
             }),
             Contains("some.merge: expected a number, got 'unset'"));
}

TEST_CASE("A host adds its own entries to a copy, and names stay unique", "[unit]") {
  Registry mine = builtins();
  CHECK_THAT(failure([&] { mine.add<ZSamplingOptions>(z_sampling); }), Contains("the name is taken"));
  Registry::Entry entry = builtins().entry("z-sampling", "step");
  entry.info.name = "mine";
  mine.add(entry);
  CHECK(mine.step({.name = "mine"}).strategy != nullptr);
  CHECK_THAT(failure([&] { builtins().step({.name = "mine"}); }), Contains("unknown step strategy 'mine'"));
  entry.info.kind = "stepp";
  entry.info.name = "other";
  CHECK_THAT(
      failure([&] { mine.add(entry); }),
      Contains(
          "kind: expected one of rule, filter, solver, step, noise, attention, attention-guidance, cache"));
}
