// Files for tests: a folder that goes away, the test data, bundles made on the spot, damage done to bytes.
#pragma once

#include <glint/core/error.hpp>

#include "tests/support/errors.hpp"
#include "tests/support/places.hpp"

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <random>
#include <string>

namespace glint::test {

/// A new folder, removed with everything in it at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

std::filesystem::path data(const std::string& name);
std::string read_bytes(const std::filesystem::path& path);
std::filesystem::path write_bytes(const std::filesystem::path& path, const std::string& bytes);

/// Damages bytes in one of the ways files get damaged: changed, cut, doubled or inserted bytes.
std::string mutated(std::string bytes, std::mt19937& random);

/// The manifest of the tiny test bundle, whose files are in tests/data/modules.
nlohmann::json tiny_manifest();

/// Writes a bundle with `manifest` and the test modules into `folder`.
void write_bundle(const std::filesystem::path& folder, const nlohmann::json& manifest);

}  // namespace glint::test
