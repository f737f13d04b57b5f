#include <glint/core/error.hpp>
#include <glint/io/lines.hpp>
#include <glint/io/utf8.hpp>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace glint {
namespace {

/// Reads a whole file or pipe. Not a stream, which takes a failed read for the end.
std::string read_all(const std::string& path) {
  const auto checked = [&](ssize_t result) {
    GLINT_CHECK(result >= 0 || errno != ENOENT, NotFound, "{}: cannot be read: there is no such file", path);
    GLINT_CHECK(result >= 0, Io, "{}: cannot be read: {}", path, std::generic_category().message(errno));
    return static_cast<size_t>(result);
  };
  struct Closing {
    int descriptor;
    ~Closing() { ::close(descriptor); }
  };
  const Closing file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  checked(file.descriptor);
  std::string text, piece(size_t{1} << 16, '\0');
  while (true) {
    ssize_t got = 0;
    do {
      got = ::read(file.descriptor, piece.data(), piece.size());
    } while (got < 0 && errno == EINTR);
    if (checked(got) == 0) return text;
    text.append(piece, 0, static_cast<size_t>(got));
  }
}

/// Returns the next line, without its end, and removes it from the text.
std::string_view next_line(std::string_view& text) {
  const size_t end = text.find('\n');
  std::string_view line = text.substr(0, end);
  text.remove_prefix(end == text.npos ? text.size() : end + 1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

}  // namespace

std::vector<TextLine> read_lines(const std::filesystem::path& path, const std::string& what) {
  const std::string content = read_all(path.string());
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  std::string_view left = content;
  if (left.starts_with(kByteOrderMark)) left.remove_prefix(kByteOrderMark.size());
  std::vector<TextLine> lines;
  for (int64_t number = 1; !left.empty(); ++number) {
    const std::string_view line = next_line(left);
    if (const auto offset = invalid_utf8_offset(line))
      fail(ErrorCode::InvalidArgument, "{}: line {}: byte {} is not UTF-8", path.string(), number, *offset);
    const auto control = std::find_if(line.begin(), line.end(), [](char c) {
      return (static_cast<unsigned char>(c) < 32 && c != '\t') || c == '\x7f';
    });
    GLINT_CHECK(control == line.end(), InvalidArgument,
                "{}: line {}: expected text, got the control character {}", path.string(), number,
                fmt::format("{:#04x}", static_cast<unsigned>(*control)));
    if (line.find_first_not_of(" \t") != line.npos) lines.push_back({number, std::string(line)});
  }
  GLINT_CHECK(!lines.empty(), InvalidArgument, "{}: expected {}, one per line, got none", path.string(),
              what);
  return lines;
}

}  // namespace glint
