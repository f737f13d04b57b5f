// Scorers from the places they can lie in: a bundle, a file, a folder with a tokenizer of its own.
#include <glint/catalog/scorer.hpp>
#include <glint/io/sha256.hpp>
#include <glint/pipeline/pipeline.hpp>

#include "tests/support/files.hpp"

#include <ATen/ops/linspace.h>
#include <nlohmann/json.hpp>

namespace glint {
namespace GLINT_TEST_FILE {

namespace fs = std::filesystem;
using nlohmann::json;
using test::Contains;

const std::vector<std::string> kTexts{"red apple", "blue heart"};

fs::path emoji() { return test::source_dir() / "models/emoji-flow"; }

/// Two pictures that differ.
at::Tensor pictures() { return at::linspace(-1.0, 1.0, 2 * 3 * 64 * 64).view({2, 3, 64, 64}); }

Prompt encoded(const Pipeline& pipeline) {
  const Plan plan = pipeline.resolve({});
  std::vector<Conditioning> rows;
  for (const std::string& text : kTexts) rows.push_back(pipeline.encode(plan, {}, text).cond);
  return {.cond = joined(rows)};
}

/// Writes the bundled scorer and its tokenizer as a folder; returns its scorer.json.
json write_folder(const fs::path& folder) {
  fs::create_directories(folder);
  const auto file = [&](const char* name) {
    fs::copy_file(emoji() / name, folder / name, fs::copy_options::overwrite_existing);
    return json{{"file", name}, {"sha256", sha256_file(folder / name)}};
  };
  json manifest = {
      {"format", 1}, {"name", "judge"}, {"scorer", file("scorer.pt")}, {"tokenizer", file("tokenizer.json")}};
  manifest["scorer"].update({{"backend", "torchscript"},
                             {"dtype", "float16"},
                             {"compute", "float32"},
                             {"inputs", {"image", "ids"}}});
  manifest["tokenizer"]["backend"] = "words";
  test::write_bytes(folder / "scorer.json", manifest.dump());
  return manifest;
}

TEST_CASE("A scorer says the same as a component, a file and a folder", "[unit]") {
  const test::TemporaryFolder folder;
  const Pipeline pipeline(Bundle::load(emoji()));
  const Prompt prompt = encoded(pipeline);
  const Scorer own = Scorer::open(pipeline.bundle(), "scorer");
  const at::Tensor expected = own(pictures(), prompt, kTexts);
  CHECK(own.name() == "scorer");
  CHECK(expected.dtype() == at::kDouble);
  CHECK(expected[0].item<double>() != expected[1].item<double>());

  fs::copy_file(emoji() / "scorer.pt", folder / "copy.pt");
  const Scorer file = Scorer::open(pipeline.bundle(), (folder / "copy.pt").string());
  CHECK(file.name() == "copy");
  CHECK(file.identity() == own.identity());
  CHECK(file(pictures(), prompt, kTexts).equal(expected));

  write_folder(folder / "judge");
  const Scorer apart = Scorer::open(pipeline.bundle(), (folder / "judge").string());
  CHECK(apart.name() == "judge");
  CHECK(apart(pictures(), {}, kTexts).equal(expected));
  CHECK(apart(pictures().narrow(0, 1, 1), {}, std::span(kTexts).subspan(1, 1))
            .allclose(expected.narrow(0, 1, 1), 0.0, 1e-5));
  // One text for all pictures.
  CHECK(apart(pictures(), {}, std::span(kTexts).first(1))[0].item<double>() ==
        Approx(expected[0].item<double>()).margin(1e-5));
}

TEST_CASE("A scorer that cannot be used is refused with the reason", "[unit]") {
  const test::TemporaryFolder folder;
  const Bundle bundle = Bundle::load(emoji());
  const auto refused = [&](const std::string& given, const Bundle& of) {
    return test::failure([&] { Scorer::open(of, given); });
  };
  CHECK_THAT(refused("nothing", bundle),
             Contains("NotFound: scorer: neither a component of model 'emoji-flow' nor a file"));
  CHECK_THAT(refused(folder.path().string(), bundle), Contains("there is no scorer.json in it"));
  CHECK_THAT(refused(test::write_bytes(folder / "text.pt", "no archive").string(), bundle),
             Contains("BadModel"));
  const std::string file = (emoji() / "scorer.pt").string();
  CHECK_THAT(refused(file, Bundle::load(emoji(), {.trust = Trust::Data})),
             Contains("InvalidArgument: trust: "));
  CHECK_THAT(test::failure([&] {
               open_scorers(bundle, {"scorer", file});
             }),
             Contains("scorers: two are called 'scorer'"));
  CHECK_THAT(test::failure([&] { Scorer::open(bundle, file)(pictures(), {}, kTexts); }),
             Contains("takes the ids of the prompt"));

  const fs::path judge = folder / "judge";
  const json whole = write_folder(judge);
  const auto with = [&](const char* place, const json& value) {
    json changed = whole;
    changed[json::json_pointer(place)] = value;
    test::write_bytes(judge / "scorer.json", changed.dump());
    return refused(judge.string(), bundle);
  };
  CHECK_THAT(with("/format", 2), Contains("scorer.json: format: expected 1"));
  CHECK_THAT(with("/scorer/inputs", {"ids"}), Contains("expected image, ids, got ids"));
  CHECK_THAT(with("/scorer/sha256", std::string(64, '0')), Contains("SHA-256"));
  CHECK_THAT(with("/scorer/file", "../scorer.pt"), Contains("scorer.file: expected a relative path"));
  CHECK_THAT(with("/names", "x"), Contains("names: unknown field"));
  CHECK_THAT(with("/tokenizer/backend", "bpe"), Contains("tokenizer.backend: expected words"));
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
