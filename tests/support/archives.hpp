// Changes records of PyTorch archives, for tests of what a hostile or chatty file does.
#pragma once

#include <caffe2/serialize/inline_container.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

namespace glint::test {

/// Copies an archive; `change(name, content)` may change every record's content.
inline void rewrite_archive(const std::filesystem::path& from, const std::filesystem::path& to,
                            const std::function<void(const std::string&, std::string&)>& change) {
  caffe2::serialize::PyTorchStreamReader reader(from.string());
  std::ofstream file(to, std::ios::binary);
  caffe2::serialize::PyTorchStreamWriter writer([&file](const void* data, size_t size) {
    file.write(static_cast<const char*>(data), static_cast<std::streamsize>(size));
    return size;
  });
  for (const std::string& name : reader.getAllRecords()) {
    if (name == ".data/version" || name == "version" || name == caffe2::serialize::kSerializationIdRecordName)
      continue;  // added by the writer
    const auto [data, size] = reader.getRecord(name);
    std::string content(static_cast<const char*>(data.get()), size);
    change(name, content);
    writer.writeRecord(name, content.data(), content.size());
  }
  writer.writeEndOfFile();
}

}  // namespace glint::test
