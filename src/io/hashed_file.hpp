// Large files that are verified first and read later.
#pragma once

#include "io/digest.hpp"
#include "io/file.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>
#include <vector>

namespace glint::detail {

/// A file that was read once for its SHA-256 and is read again, piece by piece, by whoever wants its content.
/// All that is read are the bytes that were hashed: the state of the digest is kept at the borders of chunks,
/// and a chunk counts only if it leads from one state to the next. So a network's file need not be in memory
/// beside the weights made from it, and may not be exchanged between verification and use.
/// Thread:  all functions may be called concurrently.
class HashedFile {
 public:
  /// Cost:    one pass over the file at the speed of SHA-256; 1 MiB of memory, and about 0.3 KiB a MiB.
  /// Errors:  as InputFile; Io if the file's size changes meanwhile.
  explicit HashedFile(const std::filesystem::path& path);

  const std::string& name() const { return file_.name(); }
  size_t size() const { return file_.size(); }
  const std::string& sha256() const { return sha256_; }

  /// Reads up to `count` bytes from `position` on, fewer only where the file ends, and returns their number.
  /// Cost:    a pass of SHA-256 over the chunks that hold them.
  /// Errors:  Io if it cannot be read or has changed since it was hashed.
  size_t read(uint64_t position, std::byte* buffer, size_t count) const;

 private:
  /// Reads a whole chunk and verifies it.
  void read_chunk(size_t chunk, std::byte* buffer) const;
  size_t chunk_size(size_t chunk) const;

  InputFile file_;
  std::vector<Digest> before_;  // of all bytes before each chunk, and last of the file
  std::string sha256_;
  mutable std::mutex mutex_;
  mutable std::vector<std::byte> recent_;  // the chunk of the last short read
  mutable size_t recent_chunk_;
};

}  // namespace glint::detail
