#include <glint/io/sha256.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

using namespace glint;

TEST_CASE("SHA-256 gives the digests of its standard", "[unit]") {
  // FIPS 180-4 examples.
  CHECK(sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256(std::string(1000000, 'a')) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("A file has the digest of its bytes, whatever its size", "[unit]") {
  const test::TemporaryFolder folder;
  for (const size_t size :
       {size_t{0}, size_t{1}, (size_t{1} << 20) - 1, size_t{1} << 20, (size_t{1} << 20) + 1}) {
    const std::string bytes(size, 'x');
    CHECK(sha256_file(test::write_bytes(folder / "file", bytes)) == sha256(bytes));
  }
}

TEST_CASE("A missing file and a folder have no digest", "[unit]") {
  const test::TemporaryFolder folder;
  CHECK(test::failure([&] { sha256_file(folder / "missing"); }) ==
        "NotFound: " + (folder / "missing").string() + ": no such file");
  CHECK(test::error_of([&] { sha256_file(folder.path()); })->code() == ErrorCode::InvalidArgument);
}
