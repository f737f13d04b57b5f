#include "collect/folder.hpp"

#include "io/json.hpp"
#include "io/safetensors_content.hpp"

#include <glint/core/error.hpp>
#include <glint/io/sha256.hpp>

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <chrono>
#include <optional>
#include <regex>
#include <system_error>
#include <thread>

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

/// Returns a hash of tensors, which a shard holds beside them: so it is known to be whole before it is
/// listed.
std::string content_hash(const TensorMap& tensors) {
  std::string hashes;
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor values = tensor.contiguous();
    hashes += fmt::format("{} {}\n", name,
                          sha256({static_cast<const char*>(values.const_data_ptr()), values.nbytes()}));
  }
  return sha256(hashes);
}

/// Returns the number in a shard's name.
std::optional<int64_t> shard_number(const std::string& name) {
  constexpr std::string_view kBefore = "shard-", kAfter = ".safetensors";
  int64_t number = -1;
  if (!name.starts_with(kBefore) || !name.ends_with(kAfter)) return std::nullopt;
  const auto parsed = std::from_chars(name.data() + kBefore.size(), name.data() + name.size(), number);
  if (parsed.ec != std::errc() || number < 0 || shard_name(number) != name) return std::nullopt;
  return number;
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
                                   const Share& share, std::function<void(const std::string&)> warn)
    : folder_(std::move(folder)), share_(share), warn_(std::move(warn)) {
  make_folder(folder_);
  const Json list = prompts;
  identity["prompts"] = {{"count", prompts.size()}, {"sha256", sha256(list.dump())}};
  total_ = static_cast<int64_t>(prompts.size()) * identity["options"]["count"].get<int64_t>();
  shard_items_ = identity["options"]["shard"].get<int64_t>();
  id_ = sha256(identity.dump());
  lock_.emplace(folder_, message("folder: another run is collecting into {}", folder_.string()),
                share_.ranks > 1 ? LockMode::Shared : LockMode::Exclusive);
  open(list, identity);
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
    const bool ours = name == kManifest || name == kPrompts || shard_number(name);
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
    const int64_t rebuilt = find_missing(Json::array());
    GLINT_CHECK(rebuilt > 0 || !begun || empty, BadModel, "{}", problem);
    check_names(prompts, rebuilt > 0);
    list();
    if (rebuilt > 0 && warn_ && (begun || share_.ranks == 1))  // others may have begun first
      warn_(fmt::format("folder: {}: {} was {}; made anew from {} shards", folder_.string(), kManifest,
                        begun ? "unreadable" : "missing", rebuilt));
  }
  if (!writes_manifest()) return;
  if (share_.ranks == 1) remove_leftovers();
  if (!holds_json(folder_ / kPrompts, prompts)) write_json(folder_ / kPrompts, prompts);
  const bool differs = found && nlohmann::json(*found) != nlohmann::json(manifest_);
  if (differs && (*found)["shards"].size() == manifest_["shards"].size() && warn_)
    warn_(
        fmt::format("folder: {}: {} did not agree with its shards; corrected", folder_.string(), kManifest));
  if (!found || differs) save();
}

void CollectionFolder::check_names(const Json& prompts, bool shards) const {
  // A run killed right at the start leaves only its prompts, an empty manifest, or a partial file.
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    const std::string name = entry.path().filename().string();
    const bool known = is_leftover(name) || name == kManifest || (shards && shard_number(name)) ||
                       (name == kPrompts && (shards || holds_json(entry.path(), prompts)));
    GLINT_CHECK(known, InvalidArgument, "folder: {} holds something else ({}); give a new or empty folder",
                folder_.string(), name);
  }
}

void CollectionFolder::adopt(const Json& found, const Json& identity) {
  nlohmann::json same = found;
  for (const char* state : {"complete", "items", "kept", "shards"}) same.erase(state);
  const std::string difference = first_difference(same, identity);
  GLINT_CHECK(difference.empty(), InvalidArgument,
              "folder: {} holds another collection: {}; give another folder", folder_.string(), difference);
  find_missing(found["shards"]);  // what is not whole is collected again, bit-identically
  list();
}

/// Looks for shards that are not known yet, and returns how many there are.
int64_t CollectionFolder::find_missing(const Json& listed) {
  const size_t before = shards_.size();
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const std::optional<int64_t> k = shard_number(entry.path().filename().string());
    if (!k || *k >= end() || shards_.contains(*k)) continue;
    const auto place = static_cast<size_t>(*k);
    if (const auto shard = found(*k, place < listed.size() ? &listed[place] : nullptr)) shards_[*k] = *shard;
  }
  return static_cast<int64_t>(shards_.size() - before);
}

/// Returns a shard's entry if it is on disk and whole: as it is listed, or without a list, as the shard
/// itself says what it holds and that it belongs here. How many items it kept is counted in the shard. What
/// was refused once is not read again until it is written anew.
std::optional<Json> CollectionFolder::found(int64_t shard, const Json* listed) {
  const std::string name = shard_name(shard);
  const int64_t due = size(shard);
  if (type_of(folder_ / name) != fs::file_type::regular) return std::nullopt;
  if (listed && (!holds(*listed, "file", name) || !holds(*listed, "items", due))) return std::nullopt;
  const fs::file_time_type written = fs::last_write_time(folder_ / name);
  const auto [refused, first] = refused_.try_emplace(shard, written);
  if (!first && refused->second == written) return std::nullopt;
  refused->second = written;
  const auto content = std::make_shared<const FileBytes>(folder_ / name);
  const std::string hash = sha256(content->text());
  if (listed && !holds(*listed, "sha256", hash)) return std::nullopt;
  int64_t rows = -1;
  Metadata metadata;
  try {
    const TensorMap tensors = parse_safetensors(content, name, &metadata);
    const auto seeds = tensors.find("seed");
    const bool whole = listed || metadata["sha256"] == content_hash(tensors);
    if (whole && seeds != tensors.end() && seeds->second.dim() == 1) rows = seeds->second.size(0);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::BadModel) throw;
  }
  const bool ours = metadata["collection"] == id_ && metadata["shard"] == std::to_string(shard);
  if (rows < 0 || rows > due || (!listed && !ours)) return std::nullopt;
  refused_.erase(refused);
  return Json{{"file", name}, {"sha256", hash}, {"items", due}, {"kept", rows}};
}

/// Removes a killed run's partial files. Needs the exclusive lock, so that nobody is writing them.
void CollectionFolder::remove_leftovers() const {
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename().string();
    std::error_code gone;
    if (is_leftover(name)) fs::remove(entry.path(), gone);
  }
}

std::optional<int64_t> CollectionFolder::missing(int64_t from) const {
  for (int64_t k = from; k < end(); ++k)
    if (k % share_.ranks == share_.rank && !shards_.contains(k)) return k;
  return std::nullopt;
}

int64_t CollectionFolder::share_items() const {
  const int64_t last = end() - 1;
  if (share_.rank > last) return 0;
  const int64_t shards = (last - share_.rank) / share_.ranks + 1;
  return shards * shard_items_ - (last % share_.ranks == share_.rank ? shard_items_ - size(last) : 0);
}

CollectionFolder::Counts CollectionFolder::counts(int64_t rank, int64_t ranks) const {
  Counts counts;
  for (const auto& [k, shard] : shards_) {
    if (k % ranks != rank) continue;
    counts.items += shard["items"].get<int64_t>();
    counts.kept += shard["kept"].get<int64_t>();
    ++counts.shards;
  }
  return counts;
}

void CollectionFolder::add(int64_t shard, const TensorMap& tensors, int64_t kept) {
  const std::string name = shard_name(shard);
  write_safetensors(
      folder_ / name, tensors,
      {{"collection", id_}, {"shard", std::to_string(shard)}, {"sha256", content_hash(tensors)}});
  shards_[shard] =
      Json{{"file", name}, {"sha256", sha256_file(folder_ / name)}, {"items", size(shard)}, {"kept", kept}};
  if (share_.ranks > 1) return;
  list();
  save();
}

void CollectionFolder::finish(const std::function<bool()>& keep_going) {
  if (share_.ranks == 1 || share_.rank != 0) return;
  using Clock = std::chrono::steady_clock;
  Clock::time_point seen = Clock::now();
  const auto incomplete = [&] {
    find_missing(Json::array());
    return all().items < total_;
  };
  while (incomplete()) {
    GLINT_CHECK(keep_going(), Cancelled, "the collection was cancelled");
    if (!lock_->alone()) seen = Clock::now();
    const double absent = std::chrono::duration<double>(Clock::now() - seen).count();
    GLINT_CHECK(absent <= share_.patience || !incomplete(), Internal,
                "{} of {} shards are missing and no other process is collecting them; the same command goes "
                "on where this one stopped",
                end() - all().shards, end());
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  list();
  save();
  lock_->alone([&] { remove_leftovers(); });
}

/// Lists the shards before the first that is missing.
void CollectionFolder::list() {
  manifest_["shards"] = Json::array();
  int64_t items = 0, kept = 0, next = 0;
  for (const auto& [k, shard] : shards_) {
    if (k != next++) break;
    items += shard["items"].get<int64_t>();
    kept += shard["kept"].get<int64_t>();
    manifest_["shards"].push_back(shard);
  }
  manifest_["complete"] = items == total_;
  manifest_["items"] = items;
  manifest_["kept"] = kept;
}

void CollectionFolder::save() const { write_json(folder_ / kManifest, manifest_); }

}  // namespace glint::detail
