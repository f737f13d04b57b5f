#include "cli/progress.hpp"

#include "cli/terminal.hpp"

#include <glint/io/utf8.hpp>

#include <unistd.h>

#include <algorithm>

namespace glint::cli {
namespace {

volatile std::sig_atomic_t stop_signal = 0;

extern "C" void request_stop(int signal) {
  stop_signal = signal;
  struct sigaction usual {};
  usual.sa_handler = SIG_DFL;
  ::sigaction(signal, &usual, nullptr);
}

void handle(int signal, struct sigaction& before) {
  ::sigaction(signal, nullptr, &before);
  if (before.sa_handler == SIG_IGN) return;
  struct sigaction stop {};
  stop.sa_handler = request_stop;
  sigemptyset(&stop.sa_mask);
  ::sigaction(signal, &stop, nullptr);
}

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

InterruptGuard::InterruptGuard() {
  stop_signal = 0;
  handle(SIGINT, interrupt_);
  handle(SIGTERM, terminate_);
}

InterruptGuard::~InterruptGuard() {
  ::sigaction(SIGINT, &interrupt_, nullptr);
  ::sigaction(SIGTERM, &terminate_, nullptr);
}

int InterruptGuard::signal() { return stop_signal; }

ProgressLines::ProgressLines(bool quiet, int64_t lines)
    : quiet_(quiet), redraws_(can_redraw()), lines_(lines) {}

ProgressLines::~ProgressLines() {
  if (!quiet_ && redraws_) redraw("");
}

void ProgressLines::show(int64_t done, int64_t total, const std::function<std::string()>& line) {
  const int64_t part = lines_ * done / total;
  if (quiet_ || (!redraws_ && part == shown_)) return;
  shown_ = part;
  redraws_ ? redraw(line()) : say("{}\n", line());
}

Progress::Progress(bool quiet) : quiet_(quiet), redraws_(can_redraw()) {}

void Progress::begin(std::string_view label) {
  constexpr size_t kLongest = 43;  // columns
  std::string line(label);
  std::replace(line.begin(), line.end(), '\n', ' ');
  label_ = shortened(printable(line), kLongest);
  start_ = Clock::now();
  batch_ = 0;
}

void Progress::end() {
  if (!quiet_ && redraws_) redraw("");
}

/// Shows decoding only where it takes a while: in several calls, on a terminal.
void Progress::on_stage(std::string_view name, int step, int steps) {
  if (quiet_ || !redraws_ || steps < 2 || name != "decode") return;
  redraw(fmt::format("{} decoding {}/{}", label_, step + 1, steps));
}

bool Progress::on_step(const StepEvent& event) {
  if (quiet_) return true;
  if (event.step == 0) {  // a new batch; the first one's time includes prompt encoding and its first step
    if (batch_++ > 0) start_ = Clock::now();
    drawn_ = {};
    reported_ = 0;
  }
  const double seconds = seconds_since(start_);
  if (redraws_) {
    constexpr double kRedraw =
        0.05;  // seconds; redrawing more often would be invisible and slow fast models down
    if (seconds_since(drawn_) >= kRedraw || event.step + 1 == event.steps) draw(event, seconds);
  } else {
    const int quarter = 4 * (event.step + 1) / event.steps;
    if (quarter > reported_) {
      reported_ = quarter;
      say("{}: step {}/{}, {:.1f} s\n", label_, event.step + 1, event.steps, seconds);
    }
  }
  return true;
}

/// On a narrow terminal, label and bar get shorter before the figures do.
void Progress::draw(const StepEvent& event, double seconds) {
  constexpr size_t kWidest = 30;
  const int done = event.step + 1;
  const double left = seconds / done * (event.steps - done);
  const std::string figures =
      fmt::format("{}/{}  {:.2f} s/step  {:.0f} s left", done, event.steps, seconds / done, left);
  const size_t columns = terminal_columns(STDERR_FILENO, 80) - 1;
  const size_t room = columns - std::min(columns, figures.size());
  const std::string label = shortened(label_, room > 20 ? std::min<size_t>(room - 15, 43) : room);
  const size_t taken = columns_of(label) + 4;  // with spaces and brackets
  const size_t width = std::min(kWidest, room - std::min(room, taken));
  const size_t filled = width * static_cast<size_t>(done) / static_cast<size_t>(event.steps);
  const std::string bar =
      width < 5 ? "" : fmt::format("[{}{}] ", std::string(filled, '='), std::string(width - filled, ' '));
  redraw(fmt::format("{}{}{}{}", label, label.empty() ? "" : " ", bar, figures));
  drawn_ = Clock::now();
}

}  // namespace glint::cli
