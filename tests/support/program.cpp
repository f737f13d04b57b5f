#include "tests/support/program.hpp"

#include <fmt/format.h>
#include <sys/wait.h>
#include <nlohmann/json.hpp>

#include <cstdlib>

namespace glint::test {

Program::Program() { write_bundle(folder / "tiny", manifest()); }

nlohmann::json Program::manifest() {
  nlohmann::json m = tiny_manifest();
  m["latent"]["height"] = m["latent"]["width"] = 8;
  m["default_steps"] = 3;
  return m;
}

Outcome Program::operator()(const std::string& arguments) const {
  const std::string command =
      fmt::format("cd {} && (GLINT_MODELS=. OMP_NUM_THREADS=1 '{}' {}) >out.txt 2>err.txt",
                  folder.path().string(), program().string(), arguments);
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_bytes(folder / "out.txt"),
          read_bytes(folder / "err.txt")};
}

Outcome Program::shell(const std::string& script) const {
  write_bytes(folder / "script.sh",
              fmt::format("cd '{}' || exit 99\nexport GLINT_MODELS=. OMP_NUM_THREADS=1\n"
                          "SHIM='{}'\nGLINT='{}'\n{}\n",
                          folder.path().string(), fault_library().string(), program().string(), script));
  const int status = std::system(
      fmt::format("sh '{0}/script.sh' >'{0}/out.txt' 2>'{0}/err.txt'", folder.path().string()).c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_bytes(folder / "out.txt"),
          read_bytes(folder / "err.txt")};
}

Outcome Program::shared(const std::string& arguments, const std::string& before) const {
  return shell(
      fmt::format("{} WORLD_SIZE=2 RANK=1 $GLINT {} &\n"
                  "WORLD_SIZE=2 RANK=0 $GLINT {}; code=$?; wait; exit $code",
                  before, arguments, arguments));
}

}  // namespace glint::test
