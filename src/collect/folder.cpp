#include "collect/folder.hpp"

#include "io/file.hpp"
#include "io/json.hpp"

#include <glint/error.hpp>
#include <glint/io/sha256.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
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

/// Returns the folder's descriptor, locked, so that two runs do not write into it at once; the lock ends with the process.
int locked(const fs::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  GLINT_CHECK(descriptor >= 0, InvalidArgument, "folder: {} cannot be opened: {}", folder.string(),
              std::generic_category().message(errno));
  if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) return descriptor;
  ::close(descriptor);
  fail(ErrorCode::InvalidArgument, "folder: another run is collecting into {}", folder.string());
}

/// Throws with the first place where a manifest's identity is not what this run would write.
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
    remove_leftovers();
    if (fs::exists(folder_ / kManifest)) {
      adopt(Json(parse_json_file(folder_ / kManifest)), identity);
    } else {
      for (const auto& entry : fs::directory_iterator(folder_))
        GLINT_CHECK(entry.path().filename() == kPrompts, InvalidArgument,
                    "folder: {} holds something else ({}); give a new or empty folder", folder_.string(),
                    entry.path().filename().string());
      manifest_ = std::move(identity);
      manifest_["complete"] = false;
      manifest_["items"] = manifest_["kept"] = 0;
      manifest_["shards"] = Json::array();
      write_json(folder_ / kPrompts, list);
      save();
    }
  } catch (...) {
    ::close(lock_);
    throw;
  }
}

CollectionFolder::~CollectionFolder() { ::close(lock_); }

void CollectionFolder::adopt(const Json& found, const Json& identity) {
  manifest_ = identity;
  const bool formed = found.is_object() && found.contains("shards") && found["shards"].is_array();
  GLINT_CHECK(formed, BadModel, "{}: expected an object with 'shards'", (folder_ / kManifest).string());
  nlohmann::json same = found;
  for (const char* state : {"complete", "items", "kept", "shards"}) same.erase(state);
  check_same(same, identity, folder_);

  manifest_["complete"] = false;
  manifest_["items"] = manifest_["kept"] = 0;
  manifest_["shards"] = Json::array();
  for (const Json& shard : found["shards"]) {
    const std::string name = shard_name(shards());
    const bool whole = shard.is_object() && shard.value("file", "") == name && shard.contains("items") &&
                       shard.contains("kept") && fs::exists(folder_ / name) &&
                       sha256_file(folder_ / name) == shard.value("sha256", "");
    if (!whole) break;  // what follows is collected again, to the same bits
    manifest_["shards"].push_back(Json{{"file", name},
                                       {"sha256", shard["sha256"]},
                                       {"items", shard["items"].get<int64_t>()},
                                       {"kept", shard["kept"].get<int64_t>()}});
  }
  manifest_["complete"] =
      found.value("complete", false) && found["shards"].size() == manifest_["shards"].size();
  manifest_["items"] = items();
  manifest_["kept"] = kept();
}

/// Half-written files of a run that was killed. Nobody else is writing: the folder is locked.
void CollectionFolder::remove_leftovers() const {
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename().string();
    const bool ours = name.starts_with("shard-") || name.starts_with(kManifest) || name.starts_with(kPrompts);
    if (ours && name.ends_with(".tmp")) fs::remove(entry.path());
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
