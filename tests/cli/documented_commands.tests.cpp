// Every ./glint command of README.md and docs/ runs, in the order it is written, with the bundled model.
#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

#include <fmt/format.h>

#include <sys/wait.h>

#include <cstdlib>
#include <set>
#include <sstream>

using namespace glint;

namespace GLINT_TEST_FILE {

/// Returns the ./glint commands of a page, without the set-up script's own (test, -D...).
std::vector<std::string> commands_of(const std::filesystem::path& page) {
  std::vector<std::string> commands;
  std::istringstream lines(test::read_bytes(page));
  for (std::string line; std::getline(lines, line);) {
    const size_t start = line.find_first_not_of(' ');
    if (start == std::string::npos || line.compare(start, 8, "./glint ") != 0) continue;
    const std::string command = line.substr(start + 8);
    if (command.starts_with("test") || command.starts_with("-D")) continue;
    commands.push_back(command.substr(0, command.find("  #")));
  }
  return commands;
}

TEST_CASE("Every documented command runs", "[cli]") {
  const std::filesystem::path root = test::source_dir();
  std::vector<std::filesystem::path> pages{root / "README.md"};
  for (const auto& entry : std::filesystem::directory_iterator(root / "docs"))
    if (entry.path().extension() == ".md") pages.push_back(entry.path());
  std::sort(pages.begin() + 1, pages.end());

  const test::TemporaryFolder folder;
  for (const char* name : {"models", "tests"})
    std::filesystem::create_directory_symlink(root / name, folder / name);
  std::set<std::string> run;
  for (const auto& page : pages) {
    for (const std::string& command : commands_of(page)) {
      if (!run.insert(command).second) continue;
      CAPTURE(page.filename().string(), command);
      const std::string line = fmt::format("cd '{}' && '{}' {} >out.txt 2>err.txt", folder.path().string(),
                                           test::program().string(), command);
      const int status = std::system(line.c_str());
      INFO(test::read_bytes(folder / "err.txt"));
      CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
    }
  }
  CHECK(run.size() >= 5);
}

}  // namespace GLINT_TEST_FILE
