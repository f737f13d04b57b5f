#include "io/hashed_file.hpp"

#include <glint/io/sha256.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

#include <fstream>

using namespace glint;
using test::Contains;

namespace GLINT_TEST_FILE {

constexpr size_t kChunk = size_t{1} << 20;  // of HashedFile

/// Bytes in which no two places look alike.
std::string numbered(size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>((i * 2654435761u) >> 13);
  return bytes;
}

std::string read(const detail::HashedFile& file, uint64_t position, size_t count) {
  std::vector<std::byte> bytes(count);
  const size_t got = file.read(position, bytes.data(), count);
  return {reinterpret_cast<const char*>(bytes.data()), got};
}

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
  CHECK_THAT(test::failure([&] { sha256_file(folder / "missing"); }),
             Contains("NotFound: " + (folder / "missing").string() + ": cannot be read: No such file"));
  CHECK(test::error_of([&] { sha256_file(folder.path()); })->code() == ErrorCode::InvalidArgument);
}

TEST_CASE("A hashed file gives any range of its bytes, and fewer only at its end", "[unit]") {
  const test::TemporaryFolder folder;
  for (const size_t size : {size_t{0}, size_t{1}, kChunk, 3 * kChunk, 3 * kChunk + 17}) {
    const std::string bytes = numbered(size);
    const detail::HashedFile file(test::write_bytes(folder / "file", bytes));
    CAPTURE(size);
    CHECK(file.size() == size);
    CHECK(file.sha256() == sha256(bytes));
    CHECK(read(file, 0, size + 5) == bytes);
    CHECK(read(file, size, 1).empty());
    CHECK(read(file, uint64_t{1} << 62, 1).empty());
    if (size < kChunk) continue;
    for (const size_t at : {size_t{0}, size_t{3}, kChunk - 1, size - 9})
      for (const size_t count : {size_t{1}, size_t{9}, kChunk, 2 * kChunk + 1}) {
        CAPTURE(at, count);
        CHECK(read(file, at, count) == bytes.substr(at, count));
      }
  }
}

TEST_CASE("Bytes that were not hashed cannot be read", "[unit]") {
  const test::TemporaryFolder folder;
  const std::string bytes = numbered(3 * kChunk + 17);
  const auto path = test::write_bytes(folder / "file", bytes);
  const detail::HashedFile file(path);
  const auto change = [&](size_t at) {
    std::fstream stream(path, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(static_cast<std::streamoff>(at));
    stream.put(static_cast<char>(~bytes[at]));
  };
  change(kChunk + 5);
  CHECK(read(file, 0, kChunk) == bytes.substr(0, kChunk));
  CHECK(read(file, 2 * kChunk, kChunk) == bytes.substr(2 * kChunk, kChunk));
  const std::string refused = "Io: " + path.string() + ": changed after it was verified";
  CHECK(test::failure([&] { read(file, kChunk, kChunk); }) == refused);   // read in place
  CHECK(test::failure([&] { read(file, kChunk + 9, 2); }) == refused);    // read aside
  CHECK(test::failure([&] { read(file, kChunk + 9, 2); }) == refused);    // and not taken for read
  CHECK(test::failure([&] { read(file, 0, bytes.size()); }) == refused);
  test::write_bytes(folder / "other", numbered(4 * kChunk));
  std::filesystem::rename(folder / "other", path);  // the path is another file's now
  CHECK(read(file, 2 * kChunk, 3) == bytes.substr(2 * kChunk, 3));

  const auto shorter = test::write_bytes(folder / "shorter", bytes);
  const detail::HashedFile cut(shorter);
  std::filesystem::resize_file(shorter, kChunk + 1);
  CHECK(read(cut, 0, kChunk) == bytes.substr(0, kChunk));
  CHECK_THAT(test::failure([&] { read(cut, kChunk, 1); }), Contains("changed after it was verified"));
}

}  // namespace GLINT_TEST_FILE
