#include "io/hashed_file.hpp"

#include <glint/core/error.hpp>

#include <algorithm>
#include <cstring>

namespace glint::detail {
namespace {

constexpr size_t kChunk = size_t{1} << 20;

}  // namespace

HashedFile::HashedFile(const std::filesystem::path& path) : file_(path), recent_(kChunk) {
  before_.emplace_back();
  const size_t chunks = (size() + kChunk - 1) / kChunk;
  for (size_t chunk = 0; chunk < chunks; ++chunk) {
    const size_t got = file_.read(chunk * kChunk, recent_.data(), chunk_size(chunk));
    GLINT_CHECK(got == chunk_size(chunk), Io, "{}: cut short while it was read: {} of {} bytes", name(),
                chunk * kChunk + got, size());
    Digest digest = before_.back();
    digest.update(recent_.data(), got);
    before_.push_back(std::move(digest));
  }
  std::byte more{};
  GLINT_CHECK(file_.read(size(), &more, 1) == 0, Io, "{}: grew while it was read", name());
  sha256_ = before_.back().hex();
  recent_chunk_ = chunks;  // none
}

size_t HashedFile::chunk_size(size_t chunk) const { return std::min(kChunk, size() - chunk * kChunk); }

void HashedFile::read_chunk(size_t chunk, std::byte* buffer) const {
  const size_t got = file_.read(chunk * kChunk, buffer, chunk_size(chunk));
  Digest digest = before_[chunk];
  digest.update(buffer, got);
  GLINT_CHECK(got == chunk_size(chunk) && digest.hex() == before_[chunk + 1].hex(), Io,
              "{}: changed after it was verified", name());
}

size_t HashedFile::read(uint64_t position, std::byte* buffer, size_t count) const {
  if (position >= size()) return 0;
  count = std::min(count, size() - static_cast<size_t>(position));
  for (size_t done = 0; done < count;) {
    const size_t at = static_cast<size_t>(position) + done;
    const size_t chunk = at / kChunk, offset = at % kChunk;
    const size_t wanted = std::min(count - done, chunk_size(chunk) - offset);
    if (wanted == chunk_size(chunk)) {
      read_chunk(chunk, buffer + done);
    } else {
      const std::lock_guard lock(mutex_);
      if (recent_chunk_ != chunk) {
        recent_chunk_ = before_.size();  // none, should reading fail
        read_chunk(chunk, recent_.data());
        recent_chunk_ = chunk;
      }
      std::memcpy(buffer + done, recent_.data() + offset, wanted);
    }
    done += wanted;
  }
  return count;
}

}  // namespace glint::detail
