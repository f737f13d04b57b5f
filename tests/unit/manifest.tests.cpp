#include <glint/bundle/manifest.hpp>
#include <glint/core/parameterization.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

#include <nlohmann/json.hpp>

#include <functional>
#include <set>

using namespace glint;
using nlohmann::json;
using test::Contains;

namespace GLINT_TEST_FILE {

const std::string kHash(64, 'a');

json example() {
  return {{"format", 1},
          {"name", "example"},
          {"family", "sdxl"},
          {"parameterization", "epsilon"},
          {"schedule",
           {{"kind", "vp"},
            {"betas", "scaled_linear"},
            {"beta_start", 0.00085},
            {"beta_end", 0.012},
            {"steps_offset", 1}}},
          {"latent",
           {{"channels", 4}, {"spatial_scale", 8}, {"frame_scale", nullptr}, {"scaling_factor", 0.13025}}},
          {"components",
           {{"denoiser",
             {{"file", "nets/denoiser.pt"},
              {"backend", "torchscript"},
              {"sha256", kHash},
              {"inputs", {"latents", "time", "tokens"}},
              {"time", "timestep"}}},
            {"tokenizer", {{"file", "words.json"}, {"backend", "words"}, {"sha256", kHash}}},
            {"vae_decoder",
             {{"file", "vae.pt2"}, {"backend", "pt2"}, {"sha256", kHash}, {"dtype", "float16"}}}}}};
}

/// The failure of the example after `change`.
std::string failure(const std::function<void(json&)>& change) {
  auto document = example();
  change(document);
  return test::failure([&] { parse_manifest(document.dump()); });
}

/// The dotted names of all properties of the schema, in the form of manifest_fields.
void schema_fields(const json& root, const json& schema, const std::string& prefix,
                   std::set<std::string>& names) {
  if (schema.contains("$ref")) {
    const auto pointer = schema.at("$ref").get<std::string>().substr(1);
    schema_fields(root, root.at(json::json_pointer(pointer)), prefix, names);
  }
  for (const char* several : {"anyOf", "allOf", "oneOf"})
    for (const auto& one : schema.value(several, json::array())) schema_fields(root, one, prefix, names);
  const json properties = schema.value("properties", json::object());
  for (const auto& [name, property] : properties.items()) {
    // Components that are plain networks share one entry, "*"; all denoisers one, "denoiser".
    const auto ref = property.is_object() ? property.value("$ref", "") : "";
    std::string shown = name;
    if (prefix == "components.") shown = ref == "#/$defs/network" ? "*" : ref.substr(ref.rfind('/') + 1);
    names.insert(prefix + shown);
    schema_fields(root, property, prefix + shown + ".", names);
  }
  // Adapters have names of their own.
  if (prefix != "adapters.") return;
  for (const auto& [pattern, property] : schema.at("patternProperties").items()) {
    names.insert(prefix + "*");
    schema_fields(root, property, prefix + "*.", names);
  }
}

TEST_CASE("A manifest is read into plain fields, with defaults for what it leaves out", "[unit]") {
  const auto manifest = parse_manifest(example().dump());
  CHECK(manifest.name == "example");
  CHECK(manifest.family == "sdxl");
  CHECK(manifest.parameterization == Parameterization::Epsilon);
  CHECK(manifest.schedule.kind == NoiseKind::VariancePreserving);
  CHECK(manifest.schedule.vp.betas == Betas::ScaledLinear);
  CHECK(manifest.schedule.vp.beta_end == 0.012);
  CHECK(manifest.schedule.vp.train_steps == 1000);
  CHECK(manifest.schedule.grid.spacing == Spacing::Leading);
  CHECK(manifest.schedule.grid.steps_offset == 1);
  CHECK(manifest.schedule.vp.final_alpha == FinalAlpha::First);
  CHECK(manifest.latent.channels == 4);
  CHECK_FALSE(manifest.latent.frame_scale);
  CHECK_FALSE(manifest.latent.height);
  CHECK(manifest.latent.scaling_factor == 0.13025);
  CHECK(manifest.guidance.uncond_branch);
  CHECK(manifest.guidance.default_scale == 1.0);
  CHECK_FALSE(manifest.default_steps);
  const auto& denoiser = manifest.components.at("denoiser");
  CHECK(denoiser.backend == Backend::TorchScript);
  CHECK(denoiser.dtype == "float32");
  CHECK(denoiser.inputs == std::vector<std::string>{"latents", "time", "tokens"});
  CHECK(enum_name(denoiser.time) == "timestep");
  CHECK(manifest.components.at("tokenizer").tokenizer == TokenizerKind::Words);
  CHECK(manifest.components.at("vae_decoder").backend == Backend::ExportedProgram);
  CHECK(manifest.components.at("vae_decoder").dtype == "float16");
}

TEST_CASE("A flow schedule has a static or a dynamic shift", "[unit]") {
  auto document = example();
  document["parameterization"] = "velocity";
  document["latent"].update({{"height", 16}, {"width", 24}});
  document["default_steps"] = 12;
  document["torch"] = "2.11.0";
  document["guidance"] = {{"default", 3.5}};
  document["schedule"] = {{"kind", "flow"}, {"shift", 3.0}};
  auto manifest = parse_manifest(document.dump());
  CHECK(manifest.schedule.flow.shift == 3.0);
  CHECK_FALSE(manifest.schedule.flow.dynamic);
  CHECK(manifest.latent.width == 24);
  CHECK(manifest.default_steps == 12);
  CHECK(manifest.torch == "2.11.0");
  CHECK(manifest.guidance.default_scale == 3.5);

  document["schedule"]["shift"] = "dynamic";
  CHECK(parse_manifest(document.dump()).schedule.flow.dynamic->max_tokens == 4096);
  document["schedule"]["shift"] = {
      {"dynamic", {{"base_shift", 0.5}, {"max_shift", 1.15}, {"base_tokens", 64}, {"max_tokens", 1024}}}};
  manifest = parse_manifest(document.dump());
  CHECK(manifest.schedule.flow.dynamic->base_tokens == 64);
  CHECK(manifest.schedule.flow.shift == 1.0);

  document["schedule"]["shift"]["dynamic"].erase("max_shift");
  CHECK_THAT(test::failure([&] { parse_manifest(document.dump()); }),
             Contains("schedule.shift: dynamic.max_shift: missing field"));
  document["schedule"]["shift"] = "dinamic";
  CHECK_THAT(test::failure([&] { parse_manifest(document.dump()); }),
             Contains("schedule.shift: expected a number"));
  document["schedule"] = {{"kind", "flow"}, {"betas", "linear"}};
  CHECK_THAT(test::failure([&] { parse_manifest(document.dump()); }),
             Contains("schedule.betas: unknown field"));
}

TEST_CASE("A manifest says how a family's networks and tokenizers are called", "[unit]") {
  auto document = example();
  const auto plain = parse_manifest(document.dump());
  CHECK(plain.default_solver.empty());
  CHECK_FALSE(plain.guidance.zero_uncond);
  CHECK(plain.latent.patch == 1);
  CHECK(plain.latent.multiple == 1);
  CHECK_FALSE(plain.latent.largest);
  CHECK(plain.components.at("denoiser").compute.empty());

  document["default_solver"] = "unipc";
  document["default_filters"] = {"threshold:ratio=0.9", "clip"};
  document["guidance"] = {{"zero_null", true}};
  document["latent"].update({{"patch", 2}, {"largest", 48}});
  document["schedule"] = {{"kind", "flow"}, {"shift_terminal", 0.02}};
  auto& components = document["components"];
  components["denoiser"]["compute"] = "bfloat16";
  components["vae_decoder_next"] = components["vae_encoder_next"] = components["vae_decoder"];
  components["tokenizer"].update(
      {{"backend", "clip-bpe"}, {"max_tokens", 77}, {"pad", 0}, {"eos", 7}, {"bos", 6}});
  components["tokenizer_2"] = {{"file", "t5.model"}, {"backend", "sentencepiece"},
                               {"sha256", kHash},    {"max_tokens", 256},
                               {"pad", 3},           {"eos", 1},
                               {"clean", "web"}};
  auto manifest = parse_manifest(document.dump());
  CHECK(manifest.default_solver == "unipc");
  CHECK(manifest.default_filters == std::vector<std::string>{"threshold:ratio=0.9", "clip"});
  CHECK(manifest.guidance.zero_uncond);
  CHECK(manifest.latent.patch == 2);
  CHECK(manifest.latent.multiple == 2);  // the patch's, if not told
  CHECK(manifest.latent.largest == 48);
  CHECK(manifest.schedule.flow.shift_terminal == 0.02);
  CHECK(manifest.components.at("denoiser").compute == "bfloat16");
  CHECK(manifest.components.contains("vae_decoder_next"));
  const Component& clip = manifest.components.at("tokenizer");
  CHECK(clip.tokenizer == TokenizerKind::ClipBpe);
  CHECK((clip.frame.max_tokens == 77 && clip.frame.bos == 6 && clip.frame.eos == 7 && clip.frame.pad == 0));
  CHECK_FALSE(clip.frame.web_text);
  const Component& t5 = manifest.components.at("tokenizer_2");
  CHECK(t5.tokenizer == TokenizerKind::SentencePiece);
  CHECK((t5.frame.max_tokens == 256 && t5.frame.eos == 1 && t5.frame.pad == 3 && t5.frame.web_text));
  document["latent"]["multiple"] = 4;
  CHECK(parse_manifest(document.dump()).latent.multiple == 4);

  const auto refused = [&](const std::function<void(json&)>& change) {
    json changed = document;
    change(changed);
    return test::failure([&] { parse_manifest(changed.dump()); });
  };
  CHECK_THAT(refused([](json& j) { j["latent"]["multiple"] = 3; }),
             Contains("latent.multiple: expected a positive multiple of patch, got number 3"));
  CHECK_THAT(refused([](json& j) { j["latent"]["patch"] = 0; }),
             Contains("latent.patch: expected a positive"));
  CHECK_THAT(refused([](json& j) { j["latent"]["largest"] = 2; }),
             Contains("latent.largest: expected an integer of at least multiple"));
  CHECK_THAT(refused([](json& j) { j["schedule"]["shift_terminal"] = 1.0; }),
             Contains("schedule.shift_terminal: expected a number from 0 to below 1"));
  CHECK_THAT(refused([](json& j) { j["components"]["denoiser"]["compute"] = "int8"; }),
             Contains("components.denoiser.compute: expected float32 | float16"));
  CHECK_THAT(refused([](json& j) {
               j["components"]["denoiser"].update({{"backend", "pt2"}});
             }),
             Contains("components.denoiser.compute: expected the component's dtype"));
  CHECK_THAT(refused([](json& j) { j["components"]["tokenizer"].erase("bos"); }),
             Contains("components.tokenizer.bos: missing field"));
  CHECK_THAT(refused([](json& j) { j["components"]["tokenizer"]["max_tokens"] = 2; }),
             Contains("components.tokenizer.max_tokens: expected an integer from 3 to 65536"));
  CHECK_THAT(refused([](json& j) { j["components"]["tokenizer"]["pad"] = -1; }),
             Contains("components.tokenizer.pad: expected an id of at least 0"));
  CHECK_THAT(refused([](json& j) { j["components"]["tokenizer_2"]["bos"] = 2; }),
             Contains("components.tokenizer_2.bos: unknown field"));
  CHECK_THAT(refused([](json& j) { j["components"]["tokenizer_2"]["clean"] = "ftfy"; }),
             Contains("components.tokenizer_2.clean: expected web, got 'ftfy'"));
  CHECK_THAT(refused([](json& j) { j["components"]["tokenizer"]["backend"] = "words"; }),
             Contains("components.tokenizer.") && Contains(": unknown field"));
  CHECK_THAT(failure([](json& j) { j["schedule"]["shift_terminal"] = 0.1; }),
             Contains("schedule.shift_terminal: unknown field"));
}

TEST_CASE("Unknown fields are refused by path, with the nearest known one", "[unit]") {
  CHECK(failure([](json& j) { j["components"]["denoiser"]["inptus"] = json::array(); }) ==
        "BadModel: model.json: components.denoiser.inptus: unknown field; did you mean 'inputs'?");
  CHECK_THAT(failure([](json& j) { j["famly"] = "x"; }),
             Contains("famly: unknown field; did you mean 'family'?"));
  CHECK_THAT(failure([](json& j) { j["latent"]["chanels"] = 4; }),
             Contains("latent.chanels: unknown field; did you"));
  CHECK_THAT(failure([](json& j) { j["components"]["vae_decodr"] = json::object(); }),
             Contains("components.vae_decodr: unknown component; did you mean 'vae_decoder'?"));
  CHECK_THAT(failure([](json& j) { j["components"]["tokenizer"]["dtype"] = "float32"; }),
             Contains("components.tokenizer.dtype: unknown field"));
  CHECK_THAT(failure([](json& j) { j["schedule"]["shift"] = 3.0; }),
             Contains("schedule.shift: unknown field"));
}

TEST_CASE("Missing fields are named by path", "[unit]") {
  for (const char* name :
       {"format", "name", "family", "parameterization", "schedule", "latent", "components"}) {
    CAPTURE(name);
    CHECK(failure([&](json& j) { j.erase(name); }) ==
          "BadModel: model.json: " + std::string(name) + ": missing field");
  }
  for (const char* name : {"file", "backend", "sha256", "inputs", "time"}) {
    CAPTURE(name);
    CHECK_THAT(failure([&](json& j) { j["components"]["denoiser"].erase(name); }),
               Contains("components.denoiser." + std::string(name) + ": missing field"));
  }
  CHECK_THAT(failure([](json& j) { j["components"].erase("denoiser"); }),
             Contains("components.denoiser: missing"));
  CHECK_THAT(failure([](json& j) { j["schedule"].erase("beta_start"); }),
             Contains("schedule.beta_start: missing"));
}

TEST_CASE("Wrong types and values tell what was expected and what came", "[unit]") {
  CHECK_THAT(failure([](json& j) { j["latent"]["channels"] = "4"; }),
             Contains("latent.channels: expected integer, got string \"4\""));
  CHECK_THAT(failure([](json& j) { j["latent"]["channels"] = 4.5; }),
             Contains("expected integer, got number 4.5"));
  CHECK_THAT(failure([](json& j) { j["latent"]["channels"] = 0; }),
             Contains("expected a positive integer, got number 0"));
  CHECK_THAT(failure([](json& j) { j["latent"]["channels"] = uint64_t{1} << 40; }),
             Contains("at most 31 bits"));
  CHECK_THAT(failure([](json& j) { j["latent"]["channels"] = ~uint64_t{0}; }), Contains("at most 31 bits"));
  CHECK_THAT(failure([](json& j) { j["latent"] = json::array(); }),
             Contains("latent: expected object, got array"));
  CHECK_THAT(failure([](json& j) { j["name"] = ""; }),
             Contains("name: expected a text, got an empty string"));
  CHECK_THAT(failure([](json& j) { j["parameterization"] = "eps"; }),
             Contains("parameterization: expected epsilon | v | x0 | velocity, got 'eps'"));
  CHECK_THAT(failure([](json& j) { j["schedule"]["betas"] = "squaredcos"; }),
             Contains("betas: expected scaled_linear | linear | squaredcos_cap_v2, got 'squaredcos'"));
  CHECK_THAT(failure([](json& j) { j["schedule"]["kind"] = "fow"; }),
             Contains("got 'fow'; did you mean 'flow'?"));
  CHECK_THAT(failure([](json& j) { j["schedule"]["beta_end"] = 1.5; }),
             Contains("schedule.beta_end: expected a number"));
  CHECK_THAT(failure([](json& j) {
               j["components"]["denoiser"]["inputs"] = {"latents", 3};
             }),
             Contains("components.denoiser.inputs[1]: expected string, got number 3"));
  CHECK_THAT(failure([](json& j) { j["components"]["denoiser"]["inputs"] = {"time"}; }),
             Contains("\"latents\" in it"));
  CHECK_THAT(failure([](json& j) {
               j["components"]["denoiser"]["inputs"] = {"latents", "time", "time"};
             }),
             Contains("names that differ"));
  CHECK_THAT(failure([](json& j) { j["components"]["denoiser"]["sha256"] = "abc"; }),
             Contains("64 lower-case"));
  CHECK_THAT(failure([](json& j) { j["components"]["denoiser"]["backend"] = "words"; }),
             Contains("backend: expected torchscript | pt2 | aoti, got 'words'"));
  CHECK_THAT(failure([](json& j) {
               j["components"]["npnet"] = {{"file", "n"}, {"backend", "words"}, {"sha256", kHash}};
             }),
             Contains("backend: expected torchscript | pt2 | aoti | safetensors, got 'words'"));
  CHECK_THAT(
      failure([](json& j) { j["family"] = "sdxll"; }),
      Contains("family: expected sdxl | sd3 | flux | wan | emoji | tensor, got 'sdxll'; did you mean"));
  CHECK_THAT(failure([](json& j) {
               j["guidance"] = {{"embedded", true}};
             }),
             Contains("guidance.embedded is true, but components.denoiser.inputs has no 'guidance'"));
  CHECK_THAT(failure([](json& j) { j["format"] = 2; }), Contains("format: version 2 is not supported"));
  CHECK_THAT(test::failure([] { parse_manifest("[]"); }), Contains("model.json: expected object, got array"));
  CHECK_THAT(test::failure([] { parse_manifest("{\"format\": 1,"); }),
             Contains("model.json: not valid JSON: parse error"));
  CHECK_THAT(test::failure([] { parse_manifest(R"({"format":1,"format":1})"); }),
             Contains("'format' appears twice"));
}

TEST_CASE("Component files must lie inside the bundle", "[unit]") {
  for (const char* file : {"/etc/passwd", "../x.pt", "a/../../x.pt", "a/..", "./x.pt", "a/", "a\\..\\x.pt"}) {
    CAPTURE(file);
    CHECK_THAT(failure([&](json& j) { j["components"]["denoiser"]["file"] = file; }),
               Contains("components.denoiser.file: expected a relative path inside the bundle's folder"));
  }
}

TEST_CASE("Adapters have names that can be typed, files inside the bundle and a torchscript denoiser",
          "[unit]") {
  const auto with = [](const char* name, const json& adapter) {
    return failure([&](json& j) { j["adapters"][name] = adapter; });
  };
  auto document = example();
  document["adapters"]["style-2.0"] = {{"file", "lora/style.safetensors"}, {"sha256", kHash}};
  const auto manifest = parse_manifest(document.dump());
  REQUIRE(manifest.adapters.size() == 1);
  CHECK(manifest.adapters.at("style-2.0").file == "lora/style.safetensors");
  CHECK(manifest.adapters.at("style-2.0").sha256 == kHash);
  CHECK(parse_manifest(example().dump()).adapters.empty());
  CHECK_THAT(with("a:b", {{"file", "a"}, {"sha256", kHash}}),
             Contains("BadModel: ") && Contains("adapters.a:b"));
  CHECK_THAT(with("a", {{"file", "../a"}, {"sha256", kHash}}),
             Contains("adapters.a.file: expected a relative path"));
  CHECK_THAT(with("a", {{"file", "a"}}), Contains("adapters.a.sha256: missing field"));
  CHECK_THAT(with("a", {{"file", "a"}, {"sha256", kHash}, {"scale", 1}}),
             Contains("adapters.a.scale: unknown field"));
  CHECK_THAT(failure([](json& j) {
               j["adapters"]["a"] = {{"file", "a"}, {"sha256", kHash}};
               j["components"]["denoiser"]["backend"] = "pt2";
             }),
             Contains("adapters: only torchscript denoisers can have them, components.denoiser is pt2"));
}

TEST_CASE("The JSON schema and the parser know the same fields", "[unit]") {
  const auto schema = json::parse(test::read_bytes(test::source_dir() / "docs/model.schema.json"));
  std::set<std::string> in_schema;
  schema_fields(schema, schema, "", in_schema);
  const auto fields = manifest_fields();
  CHECK(in_schema == std::set<std::string>(fields.begin(), fields.end()));
}

TEST_CASE("A folder without a manifest is NotFound", "[unit]") {
  const test::TemporaryFolder folder;
  CHECK_THAT(test::failure([&] { read_manifest(folder / "none"); }),
             Contains("NotFound: ") && Contains("no such model"));
  CHECK_THAT(test::failure([&] { read_manifest(folder.path()); }),
             Contains("NotFound: ") && Contains("no model.json"));
  test::write_bytes(folder / "file", "x");
  CHECK_THAT(test::failure([&] { read_manifest(folder / "file"); }), Contains("InvalidArgument: "));
}

TEST_CASE("No damage to a manifest does more than fail", "[unit]") {
  const auto good = example().dump();
  std::mt19937 random(3);
  int refused = 0;
  for (int i = 0; i < 4000; ++i) {
    const auto bad = test::mutated(good, random);
    const auto error = test::error_of([&] { parse_manifest(bad); });
    refused += error ? 1 : 0;
    if (error) CHECK(error->code() == ErrorCode::BadModel);
  }
  CHECK(refused > 1000);
}

}  // namespace GLINT_TEST_FILE
