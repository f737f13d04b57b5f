#include "io/digest.hpp"
#include "io/hashed_file.hpp"

#include <glint/core/error.hpp>
#include <glint/io/sha256.hpp>

#include <openssl/evp.h>

#include <array>

namespace glint {
namespace detail {

void Digest::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Digest::Digest() : context_(EVP_MD_CTX_new()) {
  GLINT_CHECK(context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1, Internal,
              "SHA-256 is not available from OpenSSL");
}

Digest::Digest(const Digest& other) : context_(EVP_MD_CTX_new()) {
  GLINT_CHECK(context_ && EVP_MD_CTX_copy_ex(context_.get(), other.context_.get()) == 1, Internal,
              "SHA-256: copy failed");
}

void Digest::update(const void* data, size_t size) {
  GLINT_CHECK(EVP_DigestUpdate(context_.get(), data, size) == 1, Internal, "SHA-256: update failed");
}

std::string Digest::hex() const {
  const Digest last(*this);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  GLINT_CHECK(EVP_DigestFinal_ex(last.context_.get(), digest.data(), &size) == 1, Internal,
              "SHA-256: final failed");
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (unsigned i = 0; i < size; ++i) {
    text += kDigits[digest[i] >> 4];
    text += kDigits[digest[i] & 15];
  }
  return text;
}

}  // namespace detail

std::string sha256(std::string_view bytes) {
  detail::Digest digest;
  digest.update(bytes.data(), bytes.size());
  return digest.hex();
}

std::string sha256_file(const std::filesystem::path& path) { return detail::HashedFile(path).sha256(); }

}  // namespace glint
