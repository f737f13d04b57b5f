// What a picture stores about how it was made, and making it again.
#include "cli/generate.hpp"
#include "cli/terminal.hpp"

#include <glint/core/error.hpp>
#include <glint/image/image_file.hpp>
#include <glint/io/sha256.hpp>
#include <glint/io/utf8.hpp>
#include <glint/version.hpp>

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>

namespace glint::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kText = "request";
constexpr int kFormat = 1;

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}

Json file_json(const std::string& given, const std::string& path) {
  std::error_code ignored;
  const bool is_file = std::filesystem::is_regular_file(path, ignored);
  return {{"given", given}, {"sha256", is_file ? Json(sha256_file(path)) : Json()}};
}

/// The samples of a batch, [begin, end), counted over all prompts.
struct Batch {
  int64_t begin, end;
};

Batch batch_of(const GenerateArguments& args, int64_t index) {
  const GenerateRequest& r = args.request;
  const int64_t all = pictures_per_prompt(args) * static_cast<int64_t>(args.prompts.size());
  const int64_t end = r.limit ? std::min(all, r.first + *r.limit) : all;
  const int64_t begin = r.first + (index - r.first) / r.batch * r.batch;
  return {begin, std::min(end, begin + std::min(r.batch, end - begin))};
}

/// Everything that the bits of sample `index` depend on: the batch it was made in, and nothing of the others.
Json request_json(const GenerateArguments& args, int64_t index, const Bundle& bundle) {
  const GenerateRequest& r = args.request;
  const int64_t each = pictures_per_prompt(args);
  const Batch batch = batch_of(args, index);
  const int64_t first_prompt = batch.begin / each, last_prompt = (batch.end - 1) / each;
  const std::vector<std::string> prompts(args.prompts.begin() + first_prompt,
                                         args.prompts.begin() + last_prompt + 1);
  const int64_t skipped = first_prompt * each;
  Json lora = Json::array();
  for (const std::string& given : args.lora) lora.push_back(file_json(given, lora_argument(given).file));
  Json json = {{"format", kFormat},
               {"model", args.model.name},
               {"model_sha256", bundle.sha256()},
               {"prompts", prompts},
               {"negative", or_null(r.negative)},
               {"steps", or_null(r.steps)},
               {"guidance", or_null(r.guidance)},
               {"solver", args.solver},
               {"schedule", args.schedule},
               {"with", args.with},
               {"lora", lora},
               {"seed", r.seed},
               {"count", r.count},
               {"batch", r.batch},
               {"first", batch.begin - skipped},
               {"limit", batch.end - batch.begin},
               {"picture", index - skipped},
               {"width", or_null(r.width)},
               {"height", or_null(r.height)},
               {"frames", or_null(r.frames)},
               {"fps", or_null(args.files.frames_per_second)},
               {"vae_tile", or_null(r.vae_tile)},
               {"enlarge", args.files.enlarge},
               {"device", args.model.device},
               {"dtype", args.model.dtype},
               {"pack", args.model.pack},
               {"threads", at::get_num_threads()},
               {"glint", version()},
               {"torch", torch_version()}};
  if (const auto texts = prompt_field_texts(r.text); !texts.empty()) json["text"] = texts;
  if (!args.noise_in.empty()) json["noise_in"] = file_json(args.noise_in, args.noise_in);
  if (!args.cond_in.empty()) json["cond_in"] = file_json(args.cond_in, args.cond_in);
  return json;
}

/// Reads a recorded request field by field; every error names the picture and the field.
class Recorded {
 public:
  Recorded(const Json& json, std::string file) : json_(json), file_(std::move(file)) {}

  template <typename T>
  void read(const char* name, T& out) const {
    try {
      json_.at(name).get_to(out);
    } catch (const nlohmann::json::exception&) {
      refuse(name);
    }
  }
  template <typename T>
  void read(const char* name, std::optional<T>& out) const {
    if (!json_.contains(name)) refuse(name);
    if (json_[name].is_null()) return out.reset();
    read(name, out.emplace());
  }

  /// Reads what was given for a file, and remembers its hash.
  std::string file(const Json& entry, const char* name, std::map<std::string, std::string>& hashes) const {
    if (!entry.is_object() || !entry.contains("given") || !entry["given"].is_string()) refuse(name);
    const auto given = entry["given"].get<std::string>();
    if (entry.contains("sha256") && entry["sha256"].is_string())
      hashes[given] = entry["sha256"].get<std::string>();
    return given;
  }

  [[noreturn]] void refuse(const char* name) const {
    fail(ErrorCode::InvalidArgument, "--from: {}: its '{}' has no '{}' that glint {} can read", file_, kText,
         name, version());
  }

 private:
  const Json& json_;
  std::string file_;
};

Json recorded_request(const std::string& file) {
  const PngTexts texts = read_texts(file);
  const auto text = texts.find(kText);
  GLINT_CHECK(text != texts.end(), InvalidArgument,
              "--from: {}: expected a picture of 'glint generate', which has a text '{}', got none", file,
              kText);
  Json json = Json::parse(text->second, nullptr, /*allow_exceptions=*/false);
  GLINT_CHECK(json.is_object() && json.value("format", Json()) == kFormat, InvalidArgument,
              "--from: {}: its text '{}' is of no format that glint {} can read", file, kText, version());
  return json;
}

void check_versions(const GenerateArguments& args, const Json& json) {
  const Json now = versions();
  for (const auto& [name, version] : now.items())
    if (!args.quiet && json.value(name, Json()) != version)
      spdlog::warn("--from: {} was made with {} {}, this is {}: last bits may differ", args.from, name,
                   json.value(name, Json("of unknown version")).dump(), version.dump());
}

void check_hash(const std::string& what, const std::string& recorded, const std::string& now) {
  GLINT_CHECK(recorded.empty() || recorded == now, BadModel,
              "--from: {} is not the one that the picture was made with: expected SHA-256 {}, got {}", what,
              recorded, now);
}

}  // namespace

PngTexts texts_of(const GenerateArguments& args, int64_t index, const GenerateResult& made,
                  const Bundle& bundle) {
  const int64_t each = pictures_per_prompt(args);
  PngTexts texts{
      {"prompt", args.prompts[static_cast<size_t>(index / each)]},
      {"model", args.model.name},
      {"steps", std::to_string(made.sample.steps)},
      {"solver", args.solver.empty() ? made.solver : args.solver},
      {"rule", made.rule},
      {"guidance", fmt::format("{}", made.guidance)},
      {"software", fmt::format("glint {}", version())},
      {kText, request_json(args, index, bundle).dump(-1, ' ', true, Json::error_handler_t::replace)}};
  if (args.noise_in.empty())
    texts["seed"] = std::to_string(args.request.seed + static_cast<uint64_t>(index % each));
  if (args.request.negative) texts["negative"] = *args.request.negative;
  texts.merge(prompt_field_texts(args.request.text));
  if (!args.schedule.empty()) texts["schedule"] = args.schedule;
  if (!args.with.empty()) texts["with"] = joined_text(args.with, " ");
  if (args.frames > 0) {
    texts["frames"] = std::to_string(args.frames);
    texts["fps"] = fmt::format("{}", frames_per_second(args.files));
  }
  if (made.vae_tile > 0) texts["vae_tile"] = std::to_string(made.vae_tile);
  if (args.files.enlarge > 1) texts["enlarge"] = std::to_string(args.files.enlarge);
  if (!args.lora.empty()) texts["lora"] = joined_text(args.lora, " ");
  for (auto& [keyword, text] : texts)  // a file's name need not be UTF-8
    if (invalid_utf8_offset(text)) text = printable(text);
  return texts;
}

void repeat_from(GenerateArguments& args) {
  const Json json = recorded_request(args.from);
  const Recorded recorded(json, args.from);
  GenerateRequest& r = args.request;
  if (!args.model.named) recorded.read("model", args.model.name);
  recorded.read("model_sha256", args.model_sha256);
  recorded.read("prompts", args.prompts);
  recorded.read("negative", r.negative);
  recorded.read("steps", r.steps);
  recorded.read("guidance", r.guidance);
  recorded.read("solver", args.solver);
  recorded.read("schedule", args.schedule);
  recorded.read("with", args.with);
  recorded.read("seed", r.seed);
  recorded.read("count", r.count);
  recorded.read("batch", r.batch);
  recorded.read("first", r.first);
  recorded.read("limit", r.limit);
  recorded.read("picture", args.only);
  recorded.read("width", r.width);
  recorded.read("height", r.height);
  recorded.read("frames", r.frames);
  if (!args.files.frames_per_second) recorded.read("fps", args.files.frames_per_second);
  recorded.read("vae_tile", r.vae_tile);
  if (args.files.enlarge == 1) recorded.read("enlarge", args.files.enlarge);
  recorded.read("device", args.model.device);
  recorded.read("dtype", args.model.dtype);
  recorded.read("pack", args.model.pack);
  if (args.threads == 0) recorded.read("threads", args.threads);
  if (json.contains("text")) {
    std::map<std::string, std::string> texts;
    recorded.read("text", texts);
    for (const auto& [name, text] : texts) set_prompt_field(r.text, name, text);
  }
  Json lora;
  recorded.read("lora", lora);
  for (const Json& entry : lora) args.lora.push_back(recorded.file(entry, "lora", args.file_sha256));
  if (json.contains("noise_in"))
    args.noise_in = recorded.file(json["noise_in"], "noise_in", args.file_sha256);
  if (json.contains("cond_in")) args.cond_in = recorded.file(json["cond_in"], "cond_in", args.file_sha256);
  GLINT_CHECK(r.first >= 0 && r.limit.value_or(0) >= 1 && args.only >= r.first &&
                  args.only - r.first < *r.limit && r.batch >= *r.limit && args.files.enlarge >= 1 &&
                  args.files.enlarge <= 64 && args.threads >= 1 && args.threads <= 1024 &&
                  !args.prompts.empty(),
              InvalidArgument, "--from: {}: its '{}' contradicts itself", args.from, kText);
  if (!args.cond_in.empty()) args.prompts.clear();
  check_versions(args, json);
  for (const auto& [given, hash] : args.file_sha256) {
    const bool lora_file = std::find(args.lora.begin(), args.lora.end(), given) != args.lora.end();
    const std::string path = lora_file ? lora_argument(given).file : given;
    std::error_code ignored;
    GLINT_CHECK(std::filesystem::is_regular_file(path, ignored), NotFound,
                "--from: {} was made with the file {}, which is not there", args.from, path);
    check_hash(path, hash, sha256_file(path));
  }
}

void check_recorded(const GenerateArguments& args, const Bundle& bundle) {
  check_hash(fmt::format("model '{}'", args.model.name), args.model_sha256, bundle.sha256());
}

}  // namespace glint::cli
