// Progress on stderr (a live bar on a terminal, plain lines elsewhere) and Ctrl-C handling.
#pragma once

#include <glint/sampling/observer.hpp>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace glint::cli {

/// While alive, the first SIGINT (Ctrl-C) or SIGTERM asks the run to stop and a second ends the program. A
/// signal that the program was started to ignore (nohup, a shell's background job) stays ignored.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  /// Returns the signal that asked to stop, or 0.
  static int signal();
  static bool interrupted() { return signal() != 0; }

 private:
  struct sigaction interrupt_ {
  }, terminate_{};
};

/// Stops a run after Ctrl-C; for runs with a progress report of their own.
class Interruptible final : public Observer {
 public:
  bool keep_going() override { return !InterruptGuard::interrupted(); }
};

/// Shows the progress of many items unless quiet: a line redrawn in place on a terminal, elsewhere at the
/// first item and then up to `lines` of them.
class ProgressLines {
 public:
  ProgressLines(bool quiet, int64_t lines);
  ~ProgressLines();
  ProgressLines(const ProgressLines&) = delete;
  ProgressLines& operator=(const ProgressLines&) = delete;

  /// Shows what `line` returns, if it is time for a line.
  void show(int64_t done, int64_t total, const std::function<std::string()>& line);

 private:
  bool quiet_, redraws_;
  int64_t lines_, shown_ = -1;
};

/// Shows progress unless quiet, and stops the run after Ctrl-C.
class Progress final : public Observer {
 public:
  explicit Progress(bool quiet);
  ~Progress() override { end(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Labels the following steps.
  void begin(std::string_view label);

  /// Clears the bar.
  void end();

  bool keep_going() override { return !InterruptGuard::interrupted(); }
  void on_stage(std::string_view name, int step, int steps) override;
  bool on_step(const StepEvent& event) override;

 private:
  void draw(const StepEvent& event, double seconds);

  bool quiet_, redraws_;
  std::string label_;
  std::chrono::steady_clock::time_point start_{}, drawn_{};
  int reported_ = 0, batch_ = 0;
};

}  // namespace glint::cli
