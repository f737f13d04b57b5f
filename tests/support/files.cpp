#include "tests/support/files.hpp"

#include <glint/io/sha256.hpp>

#include <unistd.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <system_error>

namespace glint::test {

TemporaryFolder::TemporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "glint-test-XXXXXX").string();
  if (!::mkdtemp(name.data())) fail(ErrorCode::Internal, "cannot make a temporary folder");
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::filesystem::path data(const std::string& name) { return source_dir() / "tests" / "data" / name; }

std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::filesystem::path write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  // Removed first: some file systems flush a file that is cut and rewritten, which takes milliseconds.
  std::filesystem::remove(path);
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

std::string mutated(std::string bytes, std::mt19937& random) {
  const auto below = [&](size_t n) { return static_cast<size_t>(random() % std::max<size_t>(n, 1)); };
  for (size_t changes = 1 + below(4); changes > 0 && !bytes.empty(); --changes) {
    const size_t at = below(bytes.size());
    switch (random() % 6) {
      case 0: bytes[at] = static_cast<char>(random()); break;
      case 1: bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8))); break;
      case 2: bytes.resize(at); break;
      case 3: bytes.insert(at, 1 + below(4), static_cast<char>(random())); break;
      case 4: bytes.erase(at, 1 + below(4)); break;
      default: bytes.insert(at, bytes.substr(below(bytes.size()), below(16))); break;
    }
  }
  return bytes;
}

nlohmann::json tiny_manifest() {
  const auto component = [](const char* file, const char* backend) {
    return nlohmann::json{
        {"file", file}, {"backend", backend}, {"sha256", sha256_file(data("modules") / file)}};
  };
  nlohmann::json manifest = {
      {"format", 1},
      {"name", "tiny"},
      {"family", "emoji"},
      {"parameterization", "velocity"},
      {"schedule", {{"kind", "flow"}, {"shift", 1.0}}},
      {"latent", {{"channels", 4}, {"spatial_scale", 2}, {"scaling_factor", 0.5}, {"shift_factor", 0.25}}},
      {"guidance", {{"null_branch", true}, {"default", 3.0}}},
      {"components",
       {{"denoiser", component("denoiser.pt", "torchscript")},
        {"text_encoder", component("text_encoder.pt", "torchscript")},
        {"tokenizer", component("tokenizer.json", "words")},
        {"vae_decoder", component("vae_decoder.pt", "torchscript")}}}};
  manifest["components"]["denoiser"]["inputs"] = {"latents", "time", "tokens", "pooled"};
  manifest["components"]["denoiser"]["time"] = "unit";
  return manifest;
}

void write_bundle(const std::filesystem::path& folder, const nlohmann::json& manifest) {
  std::filesystem::create_directories(folder);
  for (const auto& file : std::filesystem::directory_iterator(data("modules")))
    std::filesystem::copy(file, folder, std::filesystem::copy_options::overwrite_existing);
  write_bytes(folder / "model.json", manifest.dump());
}

}  // namespace glint::test
