#include "core/boundary.hpp"
#include "io/file.hpp"
#include "io/safetensors_dtype.hpp"

#include <glint/core/error.hpp>
#include <glint/io/safetensors.hpp>
#include <glint/io/utf8.hpp>

#include <nlohmann/json.hpp>

#include <cstring>

namespace glint {
namespace {

struct Item {
  const std::string* name;
  at::Tensor tensor;  // contiguous, on the CPU
  std::string_view dtype;
};

/// Checks that a header string is UTF-8, as JSON requires.
void check_text(const std::string& text, const char* what, const std::filesystem::path& path) {
  const auto offset = invalid_utf8_offset(text);
  GLINT_CHECK(!offset, InvalidArgument, "{}: {}: byte {} is not UTF-8", path.string(), what, *offset);
}

std::vector<Item> items_of(const TensorMap& tensors, const std::filesystem::path& path) {
  std::vector<Item> items;
  for (const auto& [name, tensor] : tensors) {
    check_text(name, "tensor name", path);
    GLINT_CHECK(name != "__metadata__", InvalidArgument, "{}: tensor name '__metadata__' is reserved",
                path.string());
    GLINT_CHECK(tensor.defined(), InvalidArgument, "{}: tensor '{}' is undefined", path.string(), name);
    const auto dtype = detail::dtype_to_safetensors(tensor.scalar_type());
    GLINT_CHECK(dtype, UnsupportedDtype, "{}: tensor '{}': {} cannot be stored", path.string(), name,
                at::toString(tensor.scalar_type()));
    items.push_back({&name, tensor.detach().to(at::kCPU).contiguous(), *dtype});
  }
  // Wide elements first, which aligns every tensor so that readers need not copy.
  std::stable_sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
    return a.tensor.element_size() > b.tensor.element_size();
  });
  return items;
}

void write(const std::filesystem::path& path, const TensorMap& tensors, const Metadata& metadata) {
  const auto items = items_of(tensors, path);
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  for (const auto& [key, text] : metadata) {
    check_text(key, "metadata key", path);
    check_text(text, "metadata", path);
    header["__metadata__"][key] = text;
  }
  size_t offset = 0;
  std::vector<std::string_view> pieces(2);
  for (const auto& item : items) {
    const size_t bytes = item.tensor.nbytes();
    header[*item.name] = {{"dtype", item.dtype},
                          {"shape", item.tensor.sizes().vec()},
                          {"data_offsets", {offset, offset + bytes}}};
    if (bytes > 0) pieces.emplace_back(static_cast<const char*>(item.tensor.const_data_ptr()), bytes);
    offset += bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // aligns the start of the data
  std::array<char, sizeof(uint64_t)> length{};
  const uint64_t size = text.size();
  std::memcpy(length.data(), &size, sizeof size);
  pieces[0] = {length.data(), length.size()};
  pieces[1] = text;
  detail::write_file(path, pieces);
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, const TensorMap& tensors,
                       const Metadata& metadata) {
  detail::at_boundary(ErrorCode::Io, path.string(), [&] { write(path, tensors, metadata); });
}

}  // namespace glint
