// Reads text files of one entry per line, such as prompts.
#pragma once

#include <glint/export.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace glint {

/// One line of a text file, without its line end.
struct TextLine {
  int64_t number;  ///< from 1
  std::string text;
};

/// Returns the lines that are not blank. Line ends may be LF or CR LF; a byte order mark is skipped.
/// Pipes are read too. `what` names the expected entries in messages, e.g. "prompts".
/// Errors:  NotFound if there is no such file; Io if it cannot be read; InvalidArgument, naming the line, for
///          text that is not UTF-8 or holds a control character other than a tab, and for a file without
///          lines.
GLINT_API std::vector<TextLine> read_lines(const std::filesystem::path& path, const std::string& what);

}  // namespace glint
