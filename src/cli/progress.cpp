#include "cli/progress.hpp"

#include <unistd.h>

#include <csignal>

namespace glint::cli {
namespace {

volatile std::sig_atomic_t stop_requested = 0;

extern "C" void request_stop(int signal) {
  stop_requested = 1;
  std::signal(signal, SIG_DFL);
}

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

InterruptGuard::InterruptGuard() : before_(std::signal(SIGINT, request_stop)) { stop_requested = 0; }
InterruptGuard::~InterruptGuard() { std::signal(SIGINT, before_); }
bool InterruptGuard::interrupted() { return stop_requested != 0; }

Progress::Progress(bool quiet) : quiet_(quiet), terminal_(isatty(STDERR_FILENO) == 1) {}

void Progress::begin(std::string_view label) {
  constexpr size_t kLongest = 40;
  label_.clear();
  for (const char c : label.substr(0, kLongest)) label_ += static_cast<unsigned char>(c) < 32 ? ' ' : c;
  if (label.size() > kLongest) label_ += "...";
  start_ = Clock::now();
  batch_ = 0;
}

void Progress::end() {
  if (!quiet_ && terminal_) say("\r\x1b[K");
}

/// Shows decoding only where it takes a while: in several calls, on a terminal.
void Progress::on_stage(std::string_view name, int step, int steps) {
  if (quiet_ || !terminal_ || steps < 2 || name != "decode") return;
  say("\r\x1b[K{} decoding {}/{}", label_, step + 1, steps);
}

bool Progress::on_step(const StepEvent& event) {
  if (quiet_) return true;
  if (event.step == 0) {  // a new batch; the first one's time includes prompt encoding and its first step
    if (batch_++ > 0) start_ = Clock::now();
    drawn_ = {};
    reported_ = 0;
  }
  const double seconds = seconds_since(start_);
  if (terminal_) {
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

void Progress::draw(const StepEvent& event, double seconds) {
  constexpr int kWidth = 30;
  const int done = event.step + 1, filled = kWidth * done / event.steps;
  const double left = seconds / done * (event.steps - done);
  say("\r\x1b[K{} [{}{}] {}/{}  {:.2f} s/step  {:.0f} s left", label_, std::string(filled, '='),
      std::string(kWidth - filled, ' '), done, event.steps, seconds / done, left);
  drawn_ = Clock::now();
}

}  // namespace glint::cli
