#include "cli/terminal.hpp"

#include <glint/core/error.hpp>
#include <glint/io/utf8.hpp>

#include <fcntl.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <system_error>

namespace glint::cli {
namespace {

int own_descriptor = -1;
std::string printed;  // not yet written

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool is_dumb() { return environment("TERM") == "dumb"; }

/// Writes everything; returns the error, or 0.
int write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    text.remove_prefix(static_cast<size_t>(written));
  }
  return 0;
}

/// The log's message, safe to show.
class PrintableMessage final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& out) override {
    const std::string text = printable({message.payload.data(), message.payload.size()});
    out.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<PrintableMessage>();
  }
};

}  // namespace

void own_standard_output() {
  // The number of a descriptor that is closed would go to the next file that is opened.
  std::array<bool, 3> closed{};
  for (int d = 0; d < 3; ++d) {
    closed[static_cast<size_t>(d)] = ::fcntl(d, F_GETFD) < 0;
    if (closed[static_cast<size_t>(d)] && ::open("/dev/null", O_RDWR) < 0) return;
  }
  if (!closed[STDOUT_FILENO]) own_descriptor = ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
  ::dup2(STDERR_FILENO, STDOUT_FILENO);
  std::signal(SIGPIPE, SIG_IGN);
}

void adopt_standard_output(int descriptor) { own_descriptor = descriptor; }

int standard_output() { return own_descriptor; }

void start_log() {
  const bool colours = ::isatty(STDERR_FILENO) == 1 && !is_dumb() && environment("NO_COLOR").empty();
  const auto sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>(
      colours ? spdlog::color_mode::automatic : spdlog::color_mode::never);
  auto logger = std::make_shared<spdlog::logger>("glint", sink);
  auto format = std::make_unique<spdlog::pattern_formatter>();
  format->add_flag<PrintableMessage>('*').set_pattern("glint: %^%l%$: %*");
  logger->set_formatter(std::move(format));
  spdlog::set_default_logger(std::move(logger));
}

bool can_redraw() { return ::isatty(STDERR_FILENO) == 1 && !is_dumb(); }

size_t terminal_columns(int descriptor, size_t otherwise) {
  winsize size{};
  if (::isatty(descriptor) != 1) return otherwise;
  if (::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  size_t columns = 0;
  const std::string_view text = environment("COLUMNS");
  std::from_chars(text.data(), text.data() + text.size(), columns);
  return columns > 0 ? columns : otherwise;
}

void print_text(std::string_view text) { printed += printable(text); }

void print_json(const nlohmann::ordered_json& document, int indent) {
  printed += printable_json(document.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace));
  printed += '\n';
}

void finish_output() {
  const std::string text = std::exchange(printed, {});
  if (text.empty()) return;
  GLINT_CHECK(own_descriptor >= 0, Io, "standard output: closed");
  const int error = write_all(own_descriptor, text);
  GLINT_CHECK(error == 0, Io, "standard output: {}", std::generic_category().message(error));
}

void say_text(std::string_view text) { write_all(STDERR_FILENO, printable(text)); }

void redraw(std::string_view text) {
  const size_t columns = terminal_columns(STDERR_FILENO, 80);
  // One column stays free: writing into the last one moves some terminals to the next line.
  write_all(STDERR_FILENO, "\r\x1b[K" + shortened(printable(text), std::max<size_t>(columns, 2) - 1));
}

}  // namespace glint::cli
