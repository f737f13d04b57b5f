// Trusts nothing: every number in the header is checked before use.
#include "core/boundary.hpp"
#include "io/json.hpp"
#include "io/safetensors_content.hpp"
#include "io/safetensors_dtype.hpp"

#include <glint/core/error.hpp>
#include <glint/io/safetensors.hpp>

#include <ATen/ops/from_blob.h>

#include <bit>
#include <cstring>
#include <limits>
#include <optional>

namespace glint {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

constexpr uint64_t kLongestHeader = 100'000'000;  // the reference implementation's limit
constexpr size_t kLengthSize = sizeof(uint64_t);

/// One tensor's validated header entry. `begin` and `end` are relative to the start of the data. Without a
/// dtype it is of one that torch lacks, and its size cannot be checked.
struct Entry {
  std::string name;
  std::optional<at::ScalarType> dtype = {};
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;
};

/// Reads a file's header entries; knows its name for error messages.
class HeaderReader {
 public:
  HeaderReader(std::string file, uint64_t data_size, bool any_dtype)
      : file_(std::move(file)), data_size_(data_size), any_dtype_(any_dtype) {}

  Entry entry(const std::string& name, const json& value) const {
    const std::string where = file_ + ": tensor '" + name + "'";
    GLINT_CHECK(value.is_object(), BadModel, "{}: expected an object, got {}", where,
                detail::describe(value));
    Entry entry;
    entry.name = name;
    entry.dtype = dtype(value, where);
    const uint64_t bytes = shape(value, where, entry);
    const auto offsets = numbers(value, "data_offsets", where);
    GLINT_CHECK(offsets.size() == 2, BadModel, "{}: data_offsets: expected 2 numbers, got {}", where,
                offsets.size());
    entry.begin = offsets[0];
    entry.end = offsets[1];
    GLINT_CHECK(entry.begin <= entry.end && entry.end <= data_size_, BadModel,
                "{}: data_offsets [{},{}] lie outside the {} bytes of data", where, entry.begin, entry.end,
                data_size_);
    GLINT_CHECK(!entry.dtype || entry.end - entry.begin == bytes, BadModel,
                "{}: shape and dtype need {} bytes, data_offsets give {}", where, bytes,
                entry.end - entry.begin);
    return entry;
  }

 private:
  std::optional<at::ScalarType> dtype(const json& value, const std::string& where) const {
    const auto found = value.find("dtype");
    GLINT_CHECK(found != value.end() && found->is_string(), BadModel, "{}: dtype: expected a string", where);
    const auto dtype = detail::dtype_from_safetensors(found->get_ref<const std::string&>());
    GLINT_CHECK(dtype || any_dtype_, BadModel, "{}: unknown dtype {}", where, detail::describe(*found));
    return dtype;
  }

  /// Fills entry.shape and returns its size in bytes.
  uint64_t shape(const json& value, const std::string& where, Entry& entry) const {
    // Strides treat sizes of 0 as 1, so those products must not overflow either.
    constexpr size_t kLargestRank = 64;
    constexpr auto kLimit = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    const std::vector<uint64_t> sizes = numbers(value, "shape", where);
    GLINT_CHECK(sizes.size() <= kLargestRank, BadModel, "{}: shape: expected at most {} dimensions, got {}",
                where, kLargestRank, sizes.size());
    uint64_t extent = entry.dtype ? c10::elementSize(*entry.dtype) : 1;
    bool empty = false;
    for (const uint64_t size : sizes) {
      const uint64_t factor = std::max<uint64_t>(size, 1);
      GLINT_CHECK(extent <= kLimit / factor, BadModel, "{}: shape: product overflows", where);
      extent *= factor;
      empty = empty || size == 0;
      entry.shape.push_back(static_cast<int64_t>(size));
    }
    return empty ? 0 : extent;
  }

  static std::vector<uint64_t> numbers(const json& value, const char* key, const std::string& where) {
    const auto found = value.find(key);
    GLINT_CHECK(found != value.end() && found->is_array(), BadModel, "{}: {}: expected an array of integers",
                where, key);
    std::vector<uint64_t> result;
    for (const auto& number : *found) {
      GLINT_CHECK(number.is_number_unsigned(), BadModel, "{}: {}: expected non-negative integers, got {}",
                  where, key, detail::describe(number));
      result.push_back(number.get<uint64_t>());
    }
    return result;
  }

  std::string file_;
  uint64_t data_size_;
  bool any_dtype_;
};

/// Null is no metadata, as for the reference implementation.
Metadata parse_metadata(const json& value, const std::string& file) {
  if (value.is_null()) return {};
  GLINT_CHECK(value.is_object(), BadModel, "{}: __metadata__: expected an object, got {}", file,
              detail::describe(value));
  Metadata metadata;
  for (const auto& [key, text] : value.items()) {
    GLINT_CHECK(text.is_string(), BadModel, "{}: __metadata__.{}: expected a string, got {}", file, key,
                detail::describe(text));
    metadata[key] = text.get<std::string>();
  }
  return metadata;
}

/// Checks that tensors are contiguous and end with the file, so that every byte is accounted for.
void check_layout(std::vector<Entry>& entries, uint64_t data_size, const std::string& file) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  });
  uint64_t end = 0;
  for (const auto& entry : entries) {
    GLINT_CHECK(entry.begin >= end, BadModel, "{}: tensor '{}': data overlaps another tensor's at byte {}",
                file, entry.name, entry.begin);
    GLINT_CHECK(entry.begin == end, BadModel, "{}: tensor '{}': {} bytes before its data belong to no tensor",
                file, entry.name, entry.begin - end);
    end = entry.end;
  }
  GLINT_CHECK(end == data_size, BadModel, "{}: {} bytes at the end belong to no tensor", file,
              data_size - end);
}

/// In C++, only the bytes 0 and 1 are valid bools.
void check_booleans(std::span<const std::byte> data, const std::string& file, const std::string& name) {
  for (const auto byte : data)
    GLINT_CHECK(byte <= std::byte{1}, BadModel, "{}: tensor '{}': BOOL data holds a byte other than 0 and 1",
                file, name);
}

at::Tensor tensor_of(const Entry& entry, std::byte* data,
                     const std::shared_ptr<const detail::FileBytes>& content) {
  const auto options = at::TensorOptions().dtype(entry.dtype.value());
  if (entry.begin == entry.end) return at::empty(entry.shape, options);
  std::byte* first = data + entry.begin;
  if (reinterpret_cast<uintptr_t>(first) % c10::elementSize(*entry.dtype) == 0)
    return at::from_blob(
        first, entry.shape, [content](void*) {}, options);
  auto tensor = at::empty(entry.shape, options);
  std::memcpy(tensor.data_ptr(), first, entry.end - entry.begin);
  return tensor;
}

/// Returns the header's text, which the data follows.
std::string_view header_text(std::string_view text, const std::string& file) {
  GLINT_CHECK(text.size() >= kLengthSize, BadModel, "{}: truncated: {} bytes are no safetensors file", file,
              text.size());
  uint64_t length = 0;
  std::memcpy(&length, text.data(), kLengthSize);
  GLINT_CHECK(length <= kLongestHeader, BadModel,
              "{}: header length {} is over the limit of {}; not a safetensors file?", file, length,
              kLongestHeader);
  GLINT_CHECK(length <= text.size() - kLengthSize, BadModel,
              "{}: truncated: header length {} is over the file size {}", file, length, text.size());
  return text.substr(kLengthSize, length);
}

TensorMap parse(const std::shared_ptr<const detail::FileBytes>& content, const std::string& file,
                Metadata* metadata, std::vector<std::string>* unknown) {
  const auto header = header_text(content->text(), file);
  const auto data = content->bytes().subspan(kLengthSize + header.size());
  GLINT_CHECK(!header.starts_with("\xEF\xBB\xBF"), BadModel, "{}: header: begins with a byte order mark",
              file);
  const json root = detail::parse_json(header, file + ": header");
  GLINT_CHECK(root.is_object(), BadModel, "{}: header: expected an object, got {}", file,
              detail::describe(root));

  const HeaderReader reader(file, data.size(), unknown != nullptr);
  std::vector<Entry> entries;
  Metadata found;
  for (const auto& [name, value] : root.items()) {
    if (name == "__metadata__")
      found = parse_metadata(value, file);
    else
      entries.push_back(reader.entry(name, value));
  }
  check_layout(entries, data.size(), file);

  TensorMap tensors;
  for (const auto& entry : entries) {
    if (!entry.dtype) {
      unknown->push_back(entry.name);
      continue;
    }
    if (*entry.dtype == at::kBool)
      check_booleans(data.subspan(entry.begin, entry.end - entry.begin), file, entry.name);
    tensors.emplace(entry.name, tensor_of(entry, data.data(), content));
  }
  if (metadata) *metadata = std::move(found);
  return tensors;
}

}  // namespace

TensorMap detail::parse_safetensors(const std::shared_ptr<const FileBytes>& content, const std::string& file,
                                    Metadata* metadata, std::vector<std::string>* unknown) {
  return at_boundary(ErrorCode::BadModel, file, [&] { return parse(content, file, metadata, unknown); });
}

TensorMap read_safetensors(const std::filesystem::path& path, Metadata* metadata) {
  return detail::parse_safetensors(std::make_shared<const detail::FileBytes>(path), path.string(), metadata);
}

}  // namespace glint
