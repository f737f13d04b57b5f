#include <glint/core/error.hpp>
#include <glint/io/lines.hpp>
#include <glint/io/utf8.hpp>

#include <algorithm>
#include <fstream>

namespace glint {

std::vector<TextLine> read_lines(const std::filesystem::path& path, const std::string& what) {
  std::ifstream file(path);
  std::error_code ignored;
  GLINT_CHECK(file && !std::filesystem::is_directory(path, ignored), NotFound, "{}: cannot be read",
              path.string());
  std::vector<TextLine> lines;
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  int64_t number = 0;
  for (std::string line; std::getline(file, line);) {
    if (++number == 1 && line.starts_with(kByteOrderMark)) line.erase(0, kByteOrderMark.size());
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (const auto offset = invalid_utf8_offset(line))
      fail(ErrorCode::InvalidArgument, "{}: line {}: byte {} is not UTF-8", path.string(), number, *offset);
    const auto control = std::find_if(line.begin(), line.end(), [](char c) {
      return (static_cast<unsigned char>(c) < 32 && c != '\t') || c == '\x7f';
    });
    GLINT_CHECK(control == line.end(), InvalidArgument,
                "{}: line {}: expected text, got the control character {:#04x}", path.string(), number,
                static_cast<unsigned>(*control));
    if (line.find_first_not_of(" \t") != std::string::npos) lines.push_back({number, std::move(line)});
  }
  GLINT_CHECK(!lines.empty(), InvalidArgument, "{}: expected {}, one per line, got none", path.string(),
              what);
  return lines;
}

}  // namespace glint
