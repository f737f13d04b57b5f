#include <glint/core/error.hpp>
#include <glint/io/sha256.hpp>

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>
#include <fstream>
#include <memory>
#include <vector>

namespace glint {
namespace {

/// An incremental SHA-256 digest.
class Digest {
 public:
  Digest() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
    GLINT_CHECK(context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1, Internal,
                "SHA-256 is not available from OpenSSL");
  }

  void update(const void* data, size_t size) {
    GLINT_CHECK(EVP_DigestUpdate(context_.get(), data, size) == 1, Internal, "SHA-256: update failed");
  }

  std::string hex() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    GLINT_CHECK(EVP_DigestFinal_ex(context_.get(), digest.data(), &size) == 1, Internal,
                "SHA-256: final failed");
    std::string text;
    for (unsigned i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
    return text;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace

std::string sha256(std::string_view bytes) {
  Digest digest;
  digest.update(bytes.data(), bytes.size());
  return digest.hex();
}

std::string sha256_file(const std::filesystem::path& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  GLINT_CHECK(std::filesystem::exists(status), NotFound, "{}: no such file", path.string());
  GLINT_CHECK(std::filesystem::is_regular_file(status), InvalidArgument, "{}: expected a regular file",
              path.string());
  std::ifstream file(path, std::ios::binary);
  GLINT_CHECK(file.is_open(), Io, "{}: cannot be opened for reading", path.string());
  Digest digest;
  std::vector<char> piece(size_t{1} << 20);
  while (file) {
    file.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    digest.update(piece.data(), static_cast<size_t>(file.gcount()));
  }
  GLINT_CHECK(file.eof(), Io, "{}: reading failed", path.string());
  return digest.hex();
}

}  // namespace glint
