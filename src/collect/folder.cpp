#include "collect/folder.hpp"

#include "io/file.hpp"
#include "io/json.hpp"

#include <glint/core/error.hpp>
#include <glint/io/sha256.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
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
    return fs::is_regular_file(path) && Json(parse_json_file(path)) == wanted;
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

/// Whether a file is a killed run's temporary file: name, process id, counter and "tmp".
bool is_leftover(const std::string& name) {
  static const std::regex pattern(
      R"((shard-\d{5,}\.safetensors|collection\.json|prompts\.json)\.\d+-\d+\.tmp)");
  return std::regex_match(name, pattern);
}

}  // namespace

CollectionFolder::CollectionFolder(fs::path folder, Json identity, const std::vector<std::string>& prompts)
    : folder_(std::move(folder)) {
  GLINT_CHECK(!folder_.empty(), InvalidArgument, "folder: expected one, got none");
  std::error_code error;
  fs::create_directories(folder_, error);
  GLINT_CHECK(!error && fs::is_directory(folder_), InvalidArgument, "folder: {} cannot be made: {}",
              folder_.string(), error ? error.message() : "it is a file");
  GLINT_CHECK(::access(folder_.c_str(), W_OK | X_OK) == 0, InvalidArgument, "folder: {} cannot be written",
              folder_.string());
  const Json list = prompts;
  identity["prompts"] = {{"count", prompts.size()}, {"sha256", sha256(list.dump())}};

  lock_ = locked(folder_);
  try {
    manifest_ = identity;
    manifest_["complete"] = false;
    manifest_["items"] = manifest_["kept"] = 0;
    manifest_["shards"] = Json::array();
    const bool begun = fs::exists(folder_ / kManifest);
    if (begun)
      adopt(Json(parse_json_file(folder_ / kManifest)), identity);
    else
      check_empty(list);
    remove_leftovers();
    if (!holds_json(folder_ / kPrompts, list)) write_json(folder_ / kPrompts, list);
    if (!begun) save();
  } catch (...) {
    ::close(lock_);
    throw;
  }
}

CollectionFolder::~CollectionFolder() { ::close(lock_); }

void CollectionFolder::check_empty(const Json& prompts) const {
  // A run killed right at the start leaves only its prompts, or a partial file.
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename().string();
    GLINT_CHECK(is_leftover(name) || (name == kPrompts && holds_json(entry.path(), prompts)), InvalidArgument,
                "folder: {} holds something else ({}); give a new or empty folder", folder_.string(), name);
  }
}

void CollectionFolder::adopt(const Json& found, const Json& identity) {
  const bool formed = found.is_object() && found.contains("shards") && found["shards"].is_array();
  GLINT_CHECK(formed, BadModel, "{}: expected an object with 'shards'", (folder_ / kManifest).string());
  nlohmann::json same = found;
  for (const char* state : {"complete", "items", "kept", "shards"}) same.erase(state);
  check_same(same, identity, folder_);

  const Json& options = identity["options"];
  const int64_t total = identity["prompts"]["count"].get<int64_t>() * options["count"].get<int64_t>();
  for (const Json& shard : found["shards"]) {
    const std::string name = shard_name(shards());
    const int64_t due = std::min(options["shard"].get<int64_t>(), total - items());
    const bool counted = holds(shard, "items", due) && due > 0 && shard.contains("kept") &&
                         shard["kept"].is_number_integer() && shard["kept"] >= 0 && shard["kept"] <= due;
    const bool whole = counted && holds(shard, "file", name) && fs::is_regular_file(folder_ / name) &&
                       holds(shard, "sha256", sha256_file(folder_ / name));
    if (!whole) break;  // the rest is collected again, bit-identically
    manifest_["shards"].push_back(Json{
        {"file", name}, {"sha256", shard["sha256"]}, {"items", due}, {"kept", shard["kept"].get<int64_t>()}});
  }
  manifest_["complete"] = holds(found, "complete", true) && items() == total;
  manifest_["items"] = items();
  manifest_["kept"] = kept();
}

/// Removes a killed run's partial files. The folder is locked, so nobody else is writing them.
void CollectionFolder::remove_leftovers() const {
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename().string();
    if (is_leftover(name)) fs::remove(entry.path());
  }
}

void CollectionFolder::add(const TensorMap& tensors, int64_t items, int64_t kept, bool last) {
  const std::string name = shard_name(shards());
  write_safetensors(folder_ / name, tensors);
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
