#include "eval/journal.hpp"

#include "io/file.hpp"
#include "io/json.hpp"

#include <glint/core/error.hpp>
#include <glint/io/sha256.hpp>

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <system_error>

namespace glint::detail {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kManifest = "evaluation.json";
constexpr std::string_view kJournal = "journal-", kLines = ".jsonl";
constexpr size_t kCheckDigits = 16;

[[noreturn]] void cannot(const char* what, const fs::path& path) {
  fail(ErrorCode::Io, "{}: cannot be {}: {}", path.string(), what, std::generic_category().message(errno));
}

struct Descriptor {
  int value;
  ~Descriptor() { ::close(value); }
};

/// Returns a file's bytes from an offset on. Not by a stream, which takes a failed read for the end: a
/// journal would lose what comes after it.
std::string bytes_from(const fs::path& path, uintmax_t offset) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.value < 0) cannot("read", path);
  std::string bytes, piece(size_t{1} << 16, '\0');
  while (true) {
    const ssize_t got =
        ::pread(file.value, piece.data(), piece.size(), static_cast<off_t>(offset + bytes.size()));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) cannot("read", path);
    if (got == 0) return bytes;
    bytes.append(piece, 0, static_cast<size_t>(got));
  }
}

/// Flushes a file or folder to its disk. Some file systems have nothing to flush, which they say by EINVAL.
void flush(int descriptor, const fs::path& path) {
  if (::fsync(descriptor) != 0 && errno != EINVAL && errno != ENOTSUP) cannot("written", path);
}

/// Flushes a folder, so that a new file in it stays after a power failure.
void flush_folder(const fs::path& folder) {
  const Descriptor descriptor{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (descriptor.value >= 0) flush(descriptor.value, folder);
}

std::string hex_of(const Thumbnail& thumbnail) {
  return fmt::format("{:02x}", fmt::join(thumbnail.begin(), thumbnail.end(), ""));
}

Thumbnail thumbnail_of(const std::string& hex) {
  Thumbnail thumbnail{};
  for (size_t i = 0; i < thumbnail.size(); ++i)
    std::from_chars(hex.data() + 2 * i, hex.data() + 2 * i + 2, thumbnail[i], 16);
  return thumbnail;
}

/// One line: 16 digits of the SHA-256 of the rest, a space, and the unit.
std::string line_of(const std::string& arm, const UnitResult& unit) {
  Json pairs = Json::array();
  for (const PairResult& pair : unit.pairs)
    pairs.push_back({{"scores", pair.scores},
                     {"guidance", {to_json_number(pair.signed_scale), to_json_number(pair.unsigned_scale)}},
                     {"orthogonal", to_json_number(pair.orthogonal)},
                     {"saturation", pair.saturation},
                     {"contrast", pair.contrast},
                     {"thumbnail", hex_of(pair.thumbnail)}});
  const Json json = {{"arm", arm},        {"first", unit.first},     {"measured", unit.measured},
                     {"rows", unit.rows}, {"seconds", unit.seconds}, {"pairs", pairs}};
  const std::string text = json.dump();
  return fmt::format("{} {}\n", sha256(text).substr(0, kCheckDigits), text);
}

/// Returns a line's arm and unit, or nothing if the line is not whole.
std::optional<std::pair<std::string, UnitResult>> unit_of(std::string_view line) {
  if (line.size() <= kCheckDigits + 1) return std::nullopt;
  const std::string_view text = line.substr(kCheckDigits + 1);
  if (sha256(text).substr(0, kCheckDigits) != line.substr(0, kCheckDigits)) return std::nullopt;
  const Json json = Json::parse(text);
  UnitResult unit{.first = json.at("first").get<int64_t>(),
                  .measured = json.at("measured").get<bool>(),
                  .rows = json.at("rows").get<int64_t>(),
                  .seconds = json.at("seconds").get<double>()};
  for (const Json& pair : json.at("pairs"))
    unit.pairs.push_back({.scores = pair.at("scores").get<std::vector<double>>(),
                          .signed_scale = from_json_number(pair.at("guidance").at(0)),
                          .unsigned_scale = from_json_number(pair.at("guidance").at(1)),
                          .orthogonal = from_json_number(pair.at("orthogonal")),
                          .saturation = pair.at("saturation").get<double>(),
                          .contrast = pair.at("contrast").get<double>(),
                          .thumbnail = thumbnail_of(pair.at("thumbnail").get<std::string>())});
  return std::pair(json.at("arm").get<std::string>(), std::move(unit));
}

bool is_journal(const std::string& name) { return name.starts_with(kJournal) && name.ends_with(kLines); }

/// Returns the name of a file that no new evaluation has; empty if there is none. An evaluation that was
/// killed as it began leaves a part of its manifest, or an empty journal.
std::string foreign_file(const fs::path& folder) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    std::error_code ignored;
    const bool ours = name == kManifest || is_unfinished(name) ||
                      (is_journal(name) && fs::file_size(entry.path(), ignored) == 0);
    if (!ours) return name;
  }
  GLINT_CHECK(!error, Io, "folder: {} cannot be read: {}", folder.string(), error.message());
  return "";
}

}  // namespace

Journal::Journal(fs::path folder, const Json& identity, int64_t rank, uintmax_t room)
    : folder_(std::move(folder)), rank_(rank) {
  make_folder(folder_);
  check_folder(identity, room);
  const fs::path path = path_of(rank);
  file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (file_ < 0) cannot("written", path);
  try {
    lock_.emplace(path,
                  message("folder: another process evaluates into {} with rank {}", folder_.string(), rank));
    flush_folder(folder_);
    read(path, true);
    refresh();
  } catch (...) {
    ::close(file_);
    throw;
  }
}

Journal::~Journal() { ::close(file_); }

void Journal::check_folder(const Json& identity, uintmax_t room) {
  const fs::path manifest = folder_ / kManifest;
  const auto begun = [&] {
    std::error_code ignored;
    return fs::exists(manifest, ignored);
  };
  if (!begun()) {
    const std::string foreign = foreign_file(folder_);
    // Another process may have begun the evaluation in the meantime.
    GLINT_CHECK(foreign.empty() || begun(), InvalidArgument,
                "folder: {} holds something else ({}); give a new or empty folder", folder_.string(),
                foreign);
  }
  std::error_code unknown;
  const fs::space_info space = fs::space(folder_, unknown);
  GLINT_CHECK(unknown || space.available >= room, Io,
              "folder: {} has room for {} bytes, the evaluation needs about {}", folder_.string(),
              space.available, room);
  if (begun()) {
    const std::string difference = first_difference(parse_json_file(manifest), nlohmann::json(identity));
    GLINT_CHECK(difference.empty(), InvalidArgument,
                "folder: {} holds another evaluation: {}; give another folder", folder_.string(), difference);
    return;
  }
  const std::string text = identity.dump(1) + '\n';
  const std::array<std::string_view, 1> pieces{text};
  write_file(manifest, pieces);
}

fs::path Journal::path_of(int64_t rank) const {
  return folder_ / fmt::format("{}{}{}", kJournal, rank, kLines);
}

void Journal::read(const fs::path& path, bool own) {
  uintmax_t& done = read_[path.filename().string()];
  const std::string bytes = bytes_from(path, done);
  std::string_view left = bytes;
  for (size_t end = 0; (end = left.find('\n')) != left.npos; left.remove_prefix(end + 1)) {
    done += end + 1;
    auto unit = unit_of(left.substr(0, end));
    if (!unit) continue;  // damaged: it is sampled again
    UnitResult& known = units_[unit->first][unit->second.first];
    if (known.pairs.empty() || unit->second.measured) known = std::move(unit->second);
  }
  // A line without an end is what a killed process left, or what another is writing.
  if (own && !left.empty() && ::ftruncate(file_, static_cast<off_t>(done)) != 0) cannot("written", path);
}

void Journal::refresh() {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    const std::string name = entry.path().filename().string();
    std::error_code ignored;
    if (is_journal(name) && name != path_of(rank_).filename() && entry.is_regular_file(ignored))
      read(entry.path(), false);
  }
  GLINT_CHECK(!error, Io, "folder: {} cannot be read: {}", folder_.string(), error.message());
}

bool Journal::is_running(int64_t rank) const { return rank == rank_ || is_locked(path_of(rank)); }

const UnitResult* Journal::find(const std::string& arm, int64_t first, bool measured) const {
  const auto units = units_.find(arm);
  if (units == units_.end()) return nullptr;
  const auto unit = units->second.find(first);
  if (unit == units->second.end() || (measured && !unit->second.measured)) return nullptr;
  return &unit->second;
}

void Journal::add(const std::string& arm, UnitResult unit) {
  const std::string line = line_of(arm, unit);
  const fs::path path = path_of(rank_);
  std::string_view left = line;
  while (!left.empty()) {
    const ssize_t written = ::write(file_, left.data(), left.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) cannot("written", path);
    left.remove_prefix(static_cast<size_t>(written));
  }
  flush(file_, path);
  read_[path.filename().string()] += line.size();
  units_[arm][unit.first] = std::move(unit);
}

}  // namespace glint::detail
