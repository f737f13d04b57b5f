#include "collect/folder.hpp"

#include "io/json.hpp"
#include "io/safetensors_content.hpp"

#include <glint/core/error.hpp>
#include <glint/io/sha256.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>
#include <regex>
#include <system_error>

namespace glint::detail {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kManifest = "collection.json";
constexpr const char* kPrompts = "prompts.json";

std::string shard_name(int64_t index) { return fmt::format("shard-{:05}.safetensors", index); }

void write_json(const fs::path& path, const Json& json) {
  const std::string text = json.dump(1, ' ', false, Json::error_handler_t::strict) + '\n';
  const std::array<std::string_view, 1> pieces{text};
  write_file(path, pieces);
}

/// Whether a file exists and holds exactly this JSON.
bool holds_json(const fs::path& path, const Json& wanted) {
  try {
    std::error_code ignored;
    return fs::is_regular_file(path, ignored) && Json(parse_json_file(path)) == wanted;
  } catch (const Error&) {
    return false;  // not JSON, so not equal
  }
}

/// Opens and locks the folder so that no two runs write to it at once; the lock ends with the process.
int locked(const fs::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  GLINT_CHECK(descriptor >= 0, InvalidArgument, "folder: {} cannot be opened: {}", folder.string(),
              std::generic_category().message(errno));
  if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) return descriptor;
  ::close(descriptor);
  fail(ErrorCode::InvalidArgument, "folder: another run is collecting into {}", folder.string());
}

/// Throws, naming the first field, if a manifest's identity differs from this run's.
void check_same(const nlohmann::json& found, const nlohmann::json& wanted, const fs::path& folder) {
  const nlohmann::json difference = nlohmann::json::diff(wanted, found);
  if (difference.empty()) return;
  const std::string path = difference.front().at("path").get<std::string>();
  const nlohmann::json::json_pointer place(path);
  const auto shown = [&](const nlohmann::json& json) {
    return json.contains(place) ? json.at(place).dump() : std::string("nothing");
  };
  std::string name = path.substr(std::min<size_t>(path.size(), 1));
  std::replace(name.begin(), name.end(), '/', '.');
  fail(ErrorCode::InvalidArgument,
       "folder: {} holds another collection: its {} is {}, this run's is {}; give another folder",
       folder.string(), name.empty() ? "manifest" : name, shown(found), shown(wanted));
}

/// Whether an object has this value under this name.
bool holds(const Json& object, const char* name, const Json& value) {
  return object.is_object() && object.contains(name) && object[name] == value;
}

/// Whether a file is a killed run's unfinished one; those of the first version had the file's name, the
/// process's number, a counter and "tmp".
bool is_leftover(const std::string& name) {
  static const std::regex pattern(
      R"((shard-\d{5,}\.safetensors|collection\.json|prompts\.json)\.\d+-\d+\.tmp)");
  return is_unfinished(name) || std::regex_match(name, pattern);
}

bool is_shard(const std::string& name) {
  static const std::regex pattern(R"(shard-\d{5,}\.safetensors)");
  return std::regex_match(name, pattern);
}

fs::file_type type_of(const fs::path& path) {
  std::error_code ignored;
  return fs::status(path, ignored).type();
}

/// Returns the manifest if it has the form of one. What is not JSON is told by `problem`.
std::optional<Json> manifest_in(const fs::path& path, std::string& problem) {
  try {
    Json found = parse_json_file(path);
    if (found.is_object() && found.contains("shards") && found["shards"].is_array()) return found;
    problem = fmt::format("{}: expected an object with 'shards'", path.string());
  } catch (const Error& error) {
    if (error.code() != ErrorCode::BadModel) throw;
    problem = error.what();
  }
  return std::nullopt;
}

}  // namespace

CollectionFolder::CollectionFolder(fs::path folder, Json identity, const std::vector<std::string>& prompts,
                                   std::function<void(const std::string&)> warn)
    : folder_(std::move(folder)), warn_(std::move(warn)) {
  GLINT_CHECK(!folder_.empty(), InvalidArgument, "folder: expected one, got none");
  std::error_code error;
  fs::create_directories(folder_, error);
  GLINT_CHECK(!error && type_of(folder_) == fs::file_type::directory, InvalidArgument,
              "folder: {} cannot be made: {}", folder_.string(), error ? error.message() : "it is a file");
  GLINT_CHECK(::access(folder_.c_str(), W_OK | X_OK) == 0, InvalidArgument, "folder: {} cannot be written",
              folder_.string());
  const Json list = prompts;
  identity["prompts"] = {{"count", prompts.size()}, {"sha256", sha256(list.dump())}};
  total_ = static_cast<int64_t>(prompts.size()) * identity["options"]["count"].get<int64_t>();
  shard_items_ = identity["options"]["shard"].get<int64_t>();
  id_ = sha256(identity.dump());
  lock_ = locked(folder_);
  try {
    open(list, identity);
  } catch (...) {
    ::close(lock_);
    throw;
  }
}

void CollectionFolder::open(const Json& prompts, const Json& identity) {
  manifest_ = identity;
  manifest_["complete"] = false;
  manifest_["items"] = manifest_["kept"] = 0;
  manifest_["shards"] = Json::array();
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    // Writing to a pipe of that name would wait for a reader.
    const std::string name = entry.path().filename().string();
    const bool ours = name == kManifest || name == kPrompts || is_shard(name);
    GLINT_CHECK(!ours || type_of(entry.path()) == fs::file_type::regular, InvalidArgument,
                "folder: {} holds something else ({}, which is no file); give a new or empty folder",
                folder_.string(), name);
  }
  GLINT_CHECK(!error, Io, "folder: {} cannot be read: {}", folder_.string(), error.message());

  std::string problem;
  const bool begun = type_of(folder_ / kManifest) == fs::file_type::regular;
  const std::optional<Json> found = begun ? manifest_in(folder_ / kManifest, problem) : std::nullopt;
  if (found) {
    adopt(*found, identity);
  } else {
    const bool empty = begun && fs::file_size(folder_ / kManifest, error) == 0;
    const bool rebuilt = rebuild();
    GLINT_CHECK(rebuilt || !begun || empty, BadModel, "{}", problem);
    check_names(prompts, rebuilt);
    if (rebuilt && warn_)
      warn_(fmt::format("folder: {}: {} was {}; made anew from {} shards", folder_.string(), kManifest,
                        begun ? "unreadable" : "missing", shards()));
  }
  remove_leftovers();
  if (!holds_json(folder_ / kPrompts, prompts)) write_json(folder_ / kPrompts, prompts);
  const bool differs = found && nlohmann::json(*found) != nlohmann::json(manifest_);
  if (differs && static_cast<int64_t>((*found)["shards"].size()) == shards() && warn_)
    warn_(
        fmt::format("folder: {}: {} did not agree with its shards; corrected", folder_.string(), kManifest));
  if (!found || differs) save();
}

CollectionFolder::~CollectionFolder() { ::close(lock_); }

void CollectionFolder::check_names(const Json& prompts, bool shards) const {
  // A run killed right at the start leaves only its prompts, an empty manifest, or a partial file.
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    const std::string name = entry.path().filename().string();
    const bool known = is_leftover(name) || name == kManifest || (shards && is_shard(name)) ||
                       (name == kPrompts && (shards || holds_json(entry.path(), prompts)));
    GLINT_CHECK(known, InvalidArgument, "folder: {} holds something else ({}); give a new or empty folder",
                folder_.string(), name);
  }
}

void CollectionFolder::adopt(const Json& found, const Json& identity) {
  nlohmann::json same = found;
  for (const char* state : {"complete", "items", "kept", "shards"}) same.erase(state);
  check_same(same, identity, folder_);
  for (const Json& shard : found["shards"])
    if (!add_found(shard_name(shards()), &shard)) break;  // the rest is collected again, bit-identically
  manifest_["complete"] = items() == total_;
  manifest_["items"] = items();
  manifest_["kept"] = kept();
}

bool CollectionFolder::rebuild() {
  while (items() < total_ && add_found(shard_name(shards()), nullptr)) continue;
  manifest_["complete"] = items() == total_;
  manifest_["items"] = items();
  manifest_["kept"] = kept();
  return shards() > 0;
}

/// Adds the next shard if it is on disk and whole: as it is listed, or without a list, as the shard itself
/// says that it belongs here. How many items it kept is counted in the shard.
bool CollectionFolder::add_found(const std::string& name, const Json* listed) {
  const int64_t due = std::min(shard_items_, total_ - items());
  if (due <= 0 || type_of(folder_ / name) != fs::file_type::regular) return false;
  if (listed && (!holds(*listed, "file", name) || !holds(*listed, "items", due))) return false;
  const auto content = std::make_shared<const FileBytes>(folder_ / name);
  const std::string hash = sha256(content->text());
  if (listed && !holds(*listed, "sha256", hash)) return false;
  int64_t rows = -1;
  Metadata metadata;
  try {
    const TensorMap tensors = parse_safetensors(content, name, &metadata);
    const auto seeds = tensors.find("seed");
    if (seeds != tensors.end() && seeds->second.dim() == 1) rows = seeds->second.size(0);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::BadModel) throw;
  }
  const bool ours = metadata["collection"] == id_ && metadata["shard"] == std::to_string(shards());
  if (rows < 0 || rows > due || (!listed && !ours)) return false;
  manifest_["shards"].push_back(Json{{"file", name}, {"sha256", hash}, {"items", due}, {"kept", rows}});
  return true;
}

/// Removes a killed run's partial files. The folder is locked, so nobody else is writing them.
void CollectionFolder::remove_leftovers() const {
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename().string();
    std::error_code gone;
    if (is_leftover(name)) fs::remove(entry.path(), gone);
  }
}

void CollectionFolder::add(const TensorMap& tensors, int64_t items, int64_t kept, bool last) {
  const std::string name = shard_name(shards());
  write_safetensors(folder_ / name, tensors, {{"collection", id_}, {"shard", std::to_string(shards())}});
  manifest_["shards"].push_back(
      Json{{"file", name}, {"sha256", sha256_file(folder_ / name)}, {"items", items}, {"kept", kept}});
  manifest_["complete"] = last;
  manifest_["items"] = this->items();
  manifest_["kept"] = this->kept();
  save();
}

void CollectionFolder::save() const { write_json(folder_ / kManifest, manifest_); }

int64_t CollectionFolder::sum(const char* count) const {
  int64_t total = 0;
  for (const Json& shard : manifest_["shards"]) total += shard[count].get<int64_t>();
  return total;
}

}  // namespace glint::detail
