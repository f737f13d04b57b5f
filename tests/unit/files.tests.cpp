// Reading and writing files: whole or not at all, left-overs harmless, text safe to show.
#include "io/file.hpp"

#include <glint/core/error.hpp>
#include <glint/image/image_file.hpp>
#include <glint/io/output_file.hpp>
#include <glint/io/utf8.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

using namespace glint;
using test::Contains;
using test::failure;

namespace GLINT_TEST_FILE {

namespace fs = std::filesystem;

void write(const fs::path& path, std::string_view text) { detail::write_file(path, {&text, 1}); }

TEST_CASE("Left-overs of earlier processes are in nobody's way, whatever their numbers", "[unit]") {
  const test::TemporaryFolder folder;
  // What an earlier version left: in a container this process may have the same number.
  for (int i = 0; i < 100; ++i)
    test::write_bytes(folder / fmt::format("a.png.{}-{}.tmp", ::getpid(), i), "left");
  for (int i = 0; i < 100; ++i) write(folder / "a.png", "new");
  CHECK(test::read_bytes(folder / "a.png") == "new");
  CHECK(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()) == 101);
  const std::string longest(255, 'n');  // a longer temporary name would not be allowed
  write(folder / longest, "text");
  CHECK(test::read_bytes(folder / longest) == "text");
  CHECK(detail::is_unfinished(".glint-0123456789abcdef.tmp"));
  for (const char* other : {".glint-0123456789abcde.tmp", ".glint-0123456789ABCDEF.tmp", "x.tmp", ""})
    CHECK_FALSE(detail::is_unfinished(other));
}

TEST_CASE("Files are read whole into memory, and other things are refused", "[unit]") {
  const test::TemporaryFolder folder;
  for (const size_t size : {0, 1, 63, 64, 65, 100000}) {
    const std::string text(size, 'x');
    test::write_bytes(folder / "f", text);
    const detail::FileBytes file(folder / "f");
    CHECK(file.text() == text);
    CHECK(reinterpret_cast<uintptr_t>(file.bytes().data()) % 64 == 0);
  }
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  fs::create_symlink("loop", folder / "loop");
  CHECK_THAT(failure([&] { detail::FileBytes(folder / "fifo"); }),
             Contains("InvalidArgument: ") && Contains("regular file"));
  CHECK_THAT(failure([&] { detail::FileBytes(folder.path()); }),
             Contains("InvalidArgument: ") && Contains("regular file"));
  CHECK_THAT(failure([&] { detail::FileBytes(folder / "none"); }), Contains("NotFound: "));
  CHECK_THAT(failure([&] { detail::FileBytes(folder / "loop"); }),
             Contains("Io: ") && Contains("loop: cannot be read"));
}

TEST_CASE("Where a path leads is followed to the end", "[unit]") {
  const test::TemporaryFolder folder;
  fs::create_symlink("b", folder / "a");
  fs::create_symlink("c", folder / "b");
  const fs::path real = fs::canonical(folder.path());
  CHECK(output_target(folder / "a").path == real / "c");
  CHECK_FALSE(output_target(folder / "a").stream);
  CHECK(output_target("/dev/null").stream);
  CHECK(output_target("/dev/stderr").descriptor == 2);
  const int descriptor = ::open((folder / "open").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  REQUIRE(descriptor >= 0);
  for (const char* form : {"/dev/fd/{}", "/proc/self/fd/{}", "/proc/thread-self/fd/{}"}) {
    const std::string path = fmt::format(fmt::runtime(form), descriptor);
    CHECK(output_target(path).descriptor == descriptor);
    write(path, "x");
  }
  ::close(descriptor);
  CHECK(test::read_bytes(folder / "open") == "xxx");
  CHECK_THAT(failure([&] { check_writable(fmt::format("/dev/fd/{}", descriptor)); }),
             Contains("InvalidArgument: "));
}

TEST_CASE("A pipe without a reader is an error and no signal, and the host's handlers stay", "[unit]") {
  struct sigaction before {
  }, after{};
  ::sigaction(SIGPIPE, nullptr, &before);
  REQUIRE(before.sa_handler == SIG_DFL);  // the signal would end this process
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  ::close(ends[0]);
  CHECK_THAT(failure([&] { write(fmt::format("/dev/fd/{}", ends[1]), "text"); }),
             Contains("Io: ") && Contains("Broken pipe"));
  ::close(ends[1]);
  ::sigaction(SIGPIPE, nullptr, &after);
  CHECK(after.sa_handler == SIG_DFL);
  sigset_t blocked;
  pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
  CHECK(sigismember(&blocked, SIGPIPE) == 0);
  sigset_t pending;
  sigpending(&pending);
  CHECK(sigismember(&pending, SIGPIPE) == 0);
}

TEST_CASE("Text is made safe to show, and shortened by the columns it takes", "[unit]") {
  CHECK(printable("a\x1b[31m\x7f\tb\nc") == "a\\x1b[31m\\x7f\\x09b\nc");
  CHECK(printable("\u009b\u202e\u2066 é 苹果") == "\\x9b\\u202e\\u2066 é 苹果");
  CHECK(printable("\xff\xc3(") == "\\xff\\xc3(");
  CHECK(printable_json("\"\u009b\u202e é\"") == "\"\\u009b\\u202e é\"");
  CHECK(columns_of("苹果") == 4);
  CHECK(columns_of("e\u0301") == 1);
  CHECK(shortened("abcdef", 6) == "abcdef");
  CHECK(shortened("abcdefg", 6) == "abc...");
  CHECK(shortened("苹果苹果", 8) == "苹果苹果");
  CHECK(shortened("苹果苹果", 7) == "苹果...");
  CHECK(shortened("苹果苹果", 6) == "苹...");
  CHECK(shortened("abc", 2) == "..");
  CHECK(shortened("abc", 0).empty());
}

}  // namespace GLINT_TEST_FILE
