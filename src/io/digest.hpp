// SHA-256, incrementally.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

struct evp_md_ctx_st;

namespace glint::detail {

/// The SHA-256 of the bytes given so far. Copies go on from there independently.
class Digest {
 public:
  Digest();
  Digest(const Digest& other);
  Digest(Digest&&) noexcept = default;
  Digest& operator=(Digest&&) noexcept = default;
  ~Digest() = default;

  void update(const void* data, size_t size);

  /// Returns the digest as 64 lower-case hexadecimal digits.
  std::string hex() const;

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

}  // namespace glint::detail
