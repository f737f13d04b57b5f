// Files for tests: a folder that goes away, the test data, bundles made on the spot, damage done to bytes.
#pragma once

#include <glint/core/error.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/places.hpp"

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <optional>
#include <random>
#include <string>
#include <utility>

namespace glint::test {

// Catch2 3 gave this name to another matcher.
#if __has_include(<catch2/catch_all.hpp>)
inline auto Contains(const std::string& part) { return Catch::Matchers::ContainsSubstring(part); }
#else
using Catch::Matchers::Contains;
#endif

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

/// The Error that `function` throws, or nothing.
template <typename Function>
std::optional<Error> error_of(Function&& function) {
  try {
    function();
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

/// "BadModel: message" of the Error that `function` throws, or "no error".
template <typename Function>
std::string failure(Function&& function) {
  const auto error = error_of(std::forward<Function>(function));
  return error ? std::string(enum_name(error->code())) + ": " + error->what() : "no error";
}

/// Damages bytes in one of the ways files get damaged: changed, cut, doubled or inserted bytes.
std::string mutated(std::string bytes, std::mt19937& random);

/// The manifest of the tiny test bundle, whose files are in tests/data/modules.
nlohmann::json tiny_manifest();

/// Writes a bundle with `manifest` and the test modules into `folder`.
void write_bundle(const std::filesystem::path& folder, const nlohmann::json& manifest);

}  // namespace glint::test
