// Uses libpng's simplified interface, which returns errors instead of jumping out of C++ frames. It does not
// support texts, so their chunks are written and read here.
#include "core/boundary.hpp"
#include "io/file.hpp"

#include <glint/core/error.hpp>
#include <glint/image/png.hpp>
#include <glint/io/utf8.hpp>

#include <png.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace glint {
namespace {

constexpr size_t kSignature = 8;     // bytes before the first chunk
constexpr size_t kFrame = 12;        // a chunk's length, type and checksum
constexpr size_t kHeaderChunk = 25;  // IHDR, always first
constexpr int64_t kMostPngPixels = int64_t{1} << 26;
constexpr int64_t kBestCompression = 1032;  // deflate's maximum: 258 bytes from 2 bits
constexpr std::string_view kTextChunk = "iTXt";

/// Frees libpng's memory on every path.
struct Control {
  png_image image{};
  Control() { image.version = PNG_IMAGE_VERSION; }
  ~Control() { png_image_free(&image); }
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;
  [[noreturn]] void fail_with(const std::string& where, const char* action) const {
    fail(ErrorCode::InvalidArgument, "{}: {}: {}", where, action, image.message);
  }
};

/// Source:  PNG specification, annex D: CRC-32 of chunk type and data.
uint32_t check_sum(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (const char byte : bytes) {
    crc ^= static_cast<uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (0xEDB88320u & (0u - (crc & 1u)));
  }
  return ~crc;
}

std::string big_endian(uint32_t value) {
  std::string bytes(4, '\0');
  for (size_t i = 0; i < 4; ++i) bytes[i] = static_cast<char>(value >> (24 - 8 * i));
  return bytes;
}

uint32_t big_endian(std::string_view bytes) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

std::string text_chunk(const std::string& keyword, const std::string& text) {
  constexpr size_t kLongestKeyword = 79, kLongestText = size_t{1} << 24;
  GLINT_CHECK(!keyword.empty() && keyword.size() <= kLongestKeyword &&
                  std::all_of(keyword.begin(), keyword.end(), [](char c) { return c >= ' ' && c <= '~'; }),
              InvalidArgument, "png text: keyword must be 1 to {} characters of ASCII", kLongestKeyword);
  GLINT_CHECK(text.size() <= kLongestText, InvalidArgument, "png text '{}': longer than {} bytes", keyword,
              kLongestText);
  const auto offset = invalid_utf8_offset(text);
  GLINT_CHECK(!offset, InvalidArgument, "png text '{}': byte {} is not UTF-8", keyword, *offset);
  // Keyword, then flags: uncompressed, no language, no translated keyword.
  const std::string body = std::string(kTextChunk) + keyword + std::string(5, '\0') + text;
  return big_endian(static_cast<uint32_t>(body.size() - kTextChunk.size())) + body +
         big_endian(check_sum(body));
}

/// Returns the stored bits per pixel, from a header chunk libpng has already accepted.
int64_t bits_per_pixel(std::span<const uint8_t> bytes) {
  constexpr size_t kDepth = kSignature + 16, kColourType = kSignature + 17;
  constexpr std::array<int64_t, 7> kSamples{1, 1, 3, 1, 2, 1, 4};  // by colour type
  if (bytes.size() <= kColourType || bytes[kColourType] >= kSamples.size()) return 1;
  return std::max<int64_t>(1, kSamples[bytes[kColourType]] * bytes[kDepth]);
}

/// Adds the text of an iTXt chunk, if it is uncompressed, as written by this file.
void read_text(std::string_view data, PngTexts& texts) {
  const auto end = data.find('\0');
  if (end == std::string_view::npos || data.size() < end + 3 || data[end + 1] != 0) return;
  const auto language = data.find('\0', end + 3);
  if (language == std::string_view::npos) return;
  const auto translated = data.find('\0', language + 1);
  if (translated == std::string_view::npos) return;
  const auto text = data.substr(translated + 1);
  if (!invalid_utf8_offset(text)) texts[std::string(data.substr(0, end))] = text;
}

/// Calls `visit(type, data)` for every chunk. Returns false if a chunk is longer than the rest of the file:
/// libpng would allocate its length before checking.
template <typename Visit>
bool each_chunk(std::string_view bytes, Visit&& visit) {
  for (size_t at = kSignature; at < bytes.size();) {
    if (bytes.size() - at < kFrame) return false;
    const size_t length = big_endian(bytes.substr(at, 4));
    if (length > bytes.size() - at - kFrame) return false;
    visit(bytes.substr(at + 4, 4), bytes.substr(at + 8, length));
    at += kFrame + length;
  }
  return true;
}

}  // namespace

std::vector<uint8_t> encode_png(const Image& image, const PngTexts& texts) {
  GLINT_CHECK(image.width > 0 && image.height > 0 && image.width <= kMostPngPixels / image.height,
              InvalidArgument, "png: expected 1 to {} pixels, got {}x{}", kMostPngPixels, image.width,
              image.height);
  GLINT_CHECK(image.pixels.size() == static_cast<size_t>(3 * image.width * image.height), InvalidArgument,
              "png: {} bytes do not fit {}x{} pixels", image.pixels.size(), image.width, image.height);
  std::string chunks;
  for (const auto& [keyword, text] : texts) chunks += text_chunk(keyword, text);

  Control control;
  control.image.width = static_cast<png_uint_32>(image.width);
  control.image.height = static_cast<png_uint_32>(image.height);
  control.image.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(control.image);
  std::vector<uint8_t> bytes(size);
  if (!png_image_write_to_memory(&control.image, bytes.data(), &size, 0, image.pixels.data(), 0, nullptr))
    control.fail_with("png", "cannot be encoded");
  bytes.resize(size);
  bytes.insert(bytes.begin() + kSignature + kHeaderChunk, chunks.begin(), chunks.end());
  return bytes;
}

Image decode_png(std::span<const uint8_t> bytes, PngTexts* texts, const std::string& where) {
  const std::string_view text{reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  GLINT_CHECK(bytes.size() >= kSignature && png_sig_cmp(bytes.data(), 0, kSignature) == 0, InvalidArgument,
              "{}: not a PNG file", where);
  PngTexts found;
  const bool whole = each_chunk(text, [&](std::string_view type, std::string_view data) {
    if (type == kTextChunk) read_text(data, found);
  });
  GLINT_CHECK(whole, InvalidArgument, "{}: damaged PNG file: cut off or wrong chunk length", where);
  Control control;
  if (!png_image_begin_read_from_memory(&control.image, bytes.data(), bytes.size()))
    control.fail_with(where, "damaged PNG file");
  const int64_t width = control.image.width, height = control.image.height;
  GLINT_CHECK(width > 0 && height > 0 && width <= kMostPngPixels / height, InvalidArgument,
              "{}: {}x{} is more than {} pixels", where, width, height, kMostPngPixels);
  // Check before allocating memory for an image that the file cannot hold.
  const auto size = static_cast<int64_t>(bytes.size());
  GLINT_CHECK(width * height <= size * kBestCompression / bits_per_pixel(bytes) * 8, InvalidArgument,
              "{}: damaged PNG file: {} bytes cannot hold {}x{} pixels", where, size, width, height);
  control.image.format = PNG_FORMAT_RGB;
  Image image{width, height, std::vector<uint8_t>(PNG_IMAGE_SIZE(control.image))};
  const png_color white{255, 255, 255};
  if (!png_image_finish_read(&control.image, &white, image.pixels.data(), 0, nullptr))
    control.fail_with(where, "damaged PNG file");
  if (texts) *texts = std::move(found);
  return image;
}

void write_png(const std::filesystem::path& path, const Image& image, const PngTexts& texts) {
  detail::at_boundary(ErrorCode::Io, path.string(), [&] {
    const auto bytes = encode_png(image, texts);
    const std::string_view piece{reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    detail::write_file(path, {&piece, 1});
  });
}

Image read_png(const std::filesystem::path& path, PngTexts* texts) {
  return detail::at_boundary(ErrorCode::InvalidArgument, path.string(), [&] {
    const detail::FileBytes file(path);
    const auto bytes = file.bytes();
    return decode_png({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, texts, path.string());
  });
}

}  // namespace glint
